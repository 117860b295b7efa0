"""`scr people`."""

import io

import pytest


@pytest.fixture
def typed(monkeypatch):
    def type_in(text):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return type_in


def test_people_are_let_in_listed_given_a_password_and_removed(scr, typed):
    scr("init")
    assert "nobody yet" in scr("people", "list").out
    typed("correct horse battery\n")
    made = scr("people", "add", "Eve", "--role", "editor", "--scope", "acme")
    assert "Eve may sign in as editor (acme)" in made.out
    assert "Eve" in scr("people", "list").out
    typed("another horse battery\n")
    assert scr("people", "password", "eve", "--json").json[0]["name"] == "Eve"
    assert "no longer" in scr("people", "remove", "Eve").out
    (listed,) = scr("people", "list", "--json").json
    assert listed["removed"]
    assert "hash" not in listed
    assert scr("people", "remove", "Eve").code == 3


def test_a_short_password_and_an_unknown_role_are_refused(scr, typed):
    scr("init")
    typed("short\n")
    assert scr("people", "add", "Eve").code == 2
    assert scr("people", "add", "Eve", "--role", "king").code == 2
    assert scr("people", "password", "Nobody").code == 3
