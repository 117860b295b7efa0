"""The catalog: the same facts as the store's own lists, counted and paged."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.errors import ScrError
from scr.facts import make_fact
from scr.store import Store
from scr.store.catalog import FACETS, Asked, Catalog

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "retire", "comment", "revise", "undo", "erase"]),
              st.integers(0, 5)),
    max_size=14,
)  # fmt: skip


def everything(_scope):
    return True


def ids(page):
    return {revision.fact.id for revision in page.found}


def operate(store, operation, number):
    name = f"f{number}"
    if operation == "add":
        fields = {"subject": f"S{number}", "relation": "r", "target": f"t{store.sequence}"}
        store.add(make_fact(id=name, tags=[f"t{number % 2}"], **fields), by="ana")
    elif operation == "retire":
        store.retire(name, by="ana")
    elif operation == "comment":
        store.comment(name, "hm", by="ana")
    elif operation == "revise":
        store.revise(name, {"tags": [f"t{number % 2}", "more"]}, by="ana")
    elif operation == "undo":
        store.undo(number + 1, by="ana")
    else:
        store.erase(name, by="ana", why="the law")


@settings(max_examples=25, deadline=None)
@given(operations=OPERATIONS)
def test_it_lists_what_the_store_lists_now_and_then(tmp_path_factory, operations):
    path = tmp_path_factory.mktemp("catalog") / "x.db"
    with Store.open(path, create=True) as store:
        catalog = Catalog(store)
        for operation, number in operations:
            try:
                operate(store, operation, number)
            except ScrError:
                continue
            catalog.follow()  # step by step, as a server does
        for as_of in (None, *range(store.sequence + 1)):
            for status in ("approved", "retired"):
                chosen = Asked(chosen={"status": status}, as_of=as_of)
                page = catalog.page(chosen, everything, limit=100)
                held = store.list(status=status, as_of=as_of)
                assert {r.sequence for r in page.found} == {r.sequence for r in held}
                assert page.total == len(held)
            counted = dict(catalog.page(Asked(as_of=as_of), everything, limit=0).counts["tag"])
            tags = [tag for r in store.list(status=None, as_of=as_of) for tag in r.fact.tags]
            assert counted == {tag: tags.count(tag) for tag in tags}


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "x.db", create=True) as store:
        for number, scope in enumerate(["default", "acme", "acme", "other"]):
            store.add(
                make_fact(
                    id=f"f{number}", subject=f"Company {number}", relation="owner", target="Bo",
                    scope=scope, tags=["even"] if number % 2 == 0 else [],
                    validity={"start": f"202{number}-01-01"},
                ),
                by="ana",
            )  # fmt: skip
        yield store


def test_counts_leave_out_the_facets_own_choice(store):
    page = Catalog(store).page(Asked(chosen={"scope": "acme"}), everything, limit=9)
    assert ids(page) == {"f1", "f2"}
    assert dict(page.counts["scope"]) == {"acme": 2, "default": 1, "other": 1}
    assert dict(page.counts["tag"]) == {"even": 1}
    assert set(page.counts) == set(FACETS)


def test_nobody_counts_what_they_may_not_see(store):
    page = Catalog(store).page(Asked(text="company"), lambda scope: scope == "other", limit=9)
    assert ids(page) == {"f3"}
    assert dict(page.counts["scope"]) == {"other": 1}


def test_it_searches_within_both_times(store):
    catalog = Catalog(store)
    moment = datetime(2021, 6, 1, tzinfo=UTC)
    assert ids(catalog.page(Asked(text="comp", valid_at=moment), everything, limit=9)) == {
        "f0",
        "f1",
    }
    assert ids(catalog.page(Asked(text="owner", as_of=1), everything, limit=9)) == {"f0"}
    assert catalog.page(Asked(text="zebra"), everything, limit=9).total == 0
    assert catalog.page(Asked(text="?!"), everything, limit=9).total == 0
    assert catalog.page(Asked(chosen={"relation": "nobody"}), everything, limit=9).total == 0


def test_the_best_or_the_latest_come_first_and_pages_follow_each_other(store):
    store.comment("f0", "still so", by="ana")
    catalog = Catalog(store)
    latest = catalog.page(Asked(), everything, limit=2)
    assert [r.fact.id for r in latest.found] == ["f0", "f3"]
    assert not latest.ranked
    rest = catalog.page(Asked(), everything, limit=2, offset=2)
    assert [r.fact.id for r in rest.found] == ["f2", "f1"]
    found = catalog.page(Asked(text="company 2"), everything, limit=2)
    assert found.ranked
    assert found.found[0].fact.id == "f2"


def test_an_erased_fact_leaves_its_words_nowhere(store):
    catalog = Catalog(store)
    catalog.follow()
    store.erase("f1", by="ana", why="the law")
    for as_of in (None, *range(6)):
        assert "f1" not in ids(
            catalog.page(Asked(text="company", as_of=as_of), everything, limit=9)
        )
        named = [name for name, _ in catalog.page(Asked(as_of=as_of), everything, limit=9)
                 .counts["relation"]]  # fmt: skip
        assert named in ([], ["owner"], ["owner", ""], ["", "owner"])


def test_facts_of_one_slot_are_found_together(store):
    store.propose(make_fact(id="p", subject="company 0", relation="Owner", target="Cy"), by="ana")
    slot = Catalog(store).in_slot(store.get("f0").fact)
    assert [revision.fact.id for revision in slot] == ["f0", "p"]
    assert Catalog(store).in_slot(make_fact(statement="No slot.")) == []
