"""People who sign in with a password, and the searches they keep."""

from datetime import UTC, datetime

import pytest

from scr.errors import InvalidInput, PersonNotFound, SignInRefused
from scr.store import Store

PASSWORD = "correct horse battery"  # noqa: S105 - what else


@pytest.fixture
def people(tmp_path):
    with Store.open(tmp_path / "x.db", create=True) as store:
        yield store.keys.people


def test_someone_signs_in_with_their_password_only(people):
    assert not people.any()
    people.add("Eve", PASSWORD, "editor", ["default"], by="ana")
    assert people.sign_in("Eve", PASSWORD).role == "editor"
    for name, password in (("Eve", "correct horse batterY"), ("Bob", PASSWORD), ("Eve", "")):
        with pytest.raises(SignInRefused, match="name or password"):
            people.sign_in(name, password)
    assert people.sign_in("Eve", PASSWORD).name == "Eve"


def test_the_file_holds_no_password(tmp_path):
    with Store.open(tmp_path / "x.db", create=True) as store:
        store.keys.people.add("Eve", PASSWORD, "editor", ["default"], by="ana")
        store.keys.people.set_password("Eve", PASSWORD + "!")
    assert PASSWORD.encode() not in b"".join(p.read_bytes() for p in tmp_path.iterdir())


def test_one_name_is_one_person(people):
    people.add("Eve", PASSWORD, "editor", ["default"], by="ana")
    with pytest.raises(InvalidInput, match="already"):
        people.add(" EVE ", PASSWORD, "admin", ["default"], by="ana")
    assert people.sign_in("eve", PASSWORD).name == "Eve"


def test_who_is_removed_stays_out_until_added_again(people):
    people.add("Eve", PASSWORD, "editor", ["default"], by="ana")
    assert people.remove("Eve").removed
    for call in (people.get, people.remove, lambda name: people.set_password(name, PASSWORD)):
        with pytest.raises(PersonNotFound):
            call("Eve")
    with pytest.raises(SignInRefused):
        people.sign_in("Eve", PASSWORD)
    assert people.any()  # or the last one's going would open the desk
    people.add("Eve", PASSWORD, "reader", ["acme"], by="ana")
    assert people.sign_in("Eve", PASSWORD).scopes == ("acme",)


def test_a_new_password_says_when_it_was_set(tmp_path):
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    with Store.open(tmp_path / "x.db", create=True, clock=lambda: moment) as store:
        people = store.keys.people
        people.add("Eve", PASSWORD, "editor", ["default"], by="ana")
        moment = datetime(2026, 3, 2, tzinfo=UTC)
        assert people.set_password("Eve", PASSWORD + "!").changed == moment
        with pytest.raises(SignInRefused):
            people.sign_in("Eve", PASSWORD)


@pytest.mark.parametrize("given", [
    {"password": "short"}, {"password": "x" * 1001}, {"name": ""}, {"name": "x" * 101},
    {"scopes": ["Not One"]}, {"scopes": []}, {"role": "king"},
])  # fmt: skip
def test_what_cannot_be_used_is_refused(people, given):
    fields = {"name": "Eve", "password": PASSWORD, "role": "editor", "scopes": ["default"]}
    with pytest.raises(InvalidInput):
        people.add(**{**fields, **given}, by="ana")
    assert not people.any()


def test_each_person_keeps_their_own_searches(people):
    people.keep_filter("eve", "Mine", "q=x")
    people.keep_filter("eve", "Mine", "q=y")
    people.keep_filter("bob", "His", "q=z")
    assert [(each.name, each.query) for each in people.filters("eve")] == [("Mine", "q=y")]
    people.drop_filter("eve", "Mine")
    assert people.filters("eve") == []
    assert len(people.filters("bob")) == 1
    with pytest.raises(InvalidInput, match="0 characters"):
        people.keep_filter("eve", "  ", "q=x")
    for number in range(50):
        people.keep_filter("eve", f"no {number}", "")
    with pytest.raises(InvalidInput, match="50"):
        people.keep_filter("eve", "one more", "")
