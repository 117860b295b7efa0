"""Single facts through the command line."""

import json
import re

import pytest

CEO = ("Company X", "chief executive officer")


def test_add_makes_a_missing_store_and_says_so(scr):
    ran = scr("add", *CEO, "Dana Lee", "--source", "https://x.example", "--tag", "people")
    assert ran.code == 0
    assert ran.err == "scr: made a new store at facts.db\n"
    assert re.fullmatch(r"approved \w{26}  The chief .* of Company X is Dana Lee\.\n", ran.out)
    assert scr("add", *CEO, "Bob", "--scope", "other").err == ""


def test_add_takes_every_field(add):
    revision = add(
        *CEO, "Dana Lee", "--alias", "CoX", "--alias", "X Inc.", "--question", "Who runs X?",
        "--source", "https://x.example", "--from", "2024-01-01", "--until", "2025-01-01T12:00Z",
        "--scope", "acme/support", "--tag", "people", "--kind", "fact", "--rank", "preferred",
        "--must-fire", "Who is it?", "--must-not-fire", "Who was it?",
        "--id", "ceo", "--note", "ask Bo", "--statement", "Dana Lee runs X.", "--why", "new",
        "--by", "bo",
    )  # fmt: skip
    assert revision["by"] == "bo"
    assert revision["why"] == "new"
    assert revision["fact"] == {
        "id": "ceo",
        "kind": "fact",
        "subject": CEO[0],
        "relation": CEO[1],
        "target": "Dana Lee",
        "aliases": ["CoX", "X Inc."],
        "statement": "Dana Lee runs X.",
        "questions": ["Who runs X?"],
        "validity": {"start": "2024-01-01T00:00:00Z", "end": "2025-01-01T12:00:00Z"},
        "sources": ["https://x.example"],
        "scope": "acme/support",
        "tags": ["people"],
        "rank": "preferred",
        "supersedes": None,
        "note": "ask Bo",
        "must_fire": ["Who is it?"],
        "must_not_fire": ["Who was it?"],
    }


def test_a_statement_needs_no_names(add):
    assert add("--statement", "Tea is at four.")["fact"]["statement"] == "Tea is at four."


def test_a_new_fact_gets_the_scope_of_the_settings(add, monkeypatch):
    monkeypatch.setenv("SCR_SCOPE", "acme")
    assert add()["fact"]["scope"] == "acme"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "says nothing"),
        ([*CEO], 2, "has no target"),
        ([*CEO, ""], 2, "has no target"),
        (["", "capital", "Rome"], 2, "no subject"),
        ([*CEO, "D", "--from", "2025-01-01", "--until", "2024-01-01"], 2, "ends at 2024-01-01"),
        ([*CEO, "D", "--scope", "No Scope!"], 2, "no scope"),
        ([*CEO, "D", "--id", "no good id"], 2, "id"),
        ([*CEO, "D", "--kind", "rumor"], 2, "rumor"),
        ([*CEO, "x" * 1_001], 2, "target: String should have at most 1000 characters"),
        (["--statement", "x" * 1_000_001], 2, "statement: String should have at most"),
        ([*CEO, "a\udcffb"], 2, "unicode"),
        ([*CEO, "a\x00b"], 2, "NUL"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_fact_that_cannot_be_used_is_refused_with_the_reason(
    arguments, code, message, scr, tmp_path
):
    ran = scr("add", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert len(ran.err) < 1_000
    assert not (tmp_path / "facts.db").exists()
    assert message in scr("--json", "add", *arguments).error["message"]


def test_two_values_at_one_time_conflict(scr, add):
    rival = add()["fact"]["id"]
    ran = scr("add", *CEO, "Bob")
    assert ran.code == 4
    assert f"scr supersede {rival} TARGET" in ran.err
    assert scr("--json", "add", *CEO, "Bob").error["type"] == "FactConflict"


def test_a_closed_store_refuses_what_it_does_not_declare(scr, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("# people\ncapital\n\nchief executive officer\n", encoding="utf-8")
    made = scr("--json", "init", "--relations", names, "--relation", "mayor").json[0]
    assert made == {
        "store": "facts.db",
        "review": False,
        "four_eyes": False,
        "relations": ["mayor", "capital", "chief executive officer"],
    }
    assert scr("add", "France", "capital", "Paris").code == 0
    ran = scr("add", "France", "anthem", "La Marseillaise")
    assert ran.code == 2
    assert "'anthem' is not declared" in ran.err


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"# nothing\n"])
def test_a_list_of_relations_that_cannot_be_read_makes_no_store(content, scr, tmp_path):
    names = tmp_path / "names.txt"
    if content is not None:
        names.write_bytes(content)
    ran = scr("init", "--relations", names)
    assert ran.code == 2
    assert "names.txt" in ran.err
    assert not (tmp_path / "facts.db").exists()


def test_init_leaves_a_store_that_is_there(scr, add):
    add()
    ran = scr("init")
    assert ran.code == 5
    assert "was left as it is" in ran.err
    assert len(scr("list", "--json").json) == 1


def test_a_store_for_review_waits_for_approval(scr, add):
    assert scr("init", "--review").out == "made a new store at facts.db\n"
    fact = add()
    assert fact["status"] == "proposed"
    assert scr("list").err.startswith("scr: no such facts")
    name = fact["fact"]["id"]
    assert name in scr("list", "--status", "proposed").out
    assert scr("approve", name, "--why", "checked").out.startswith(f"approved {name}")
    assert name in scr("list").out
    ran = scr("approve", name)
    assert ran.code == 4
    assert "it is approved" in ran.err


def test_propose_waits_in_any_store_and_several_are_approved_at_once(scr):
    first = scr("--json", "propose", *CEO, "Dana Lee").json[0]
    second = scr("--json", "propose", "France", "capital", "Paris").json[0]
    assert {first["status"], second["status"]} == {"proposed"}
    approved = scr("approve", first["fact"]["id"], second["fact"]["id"], "--json").json
    assert [revision["status"] for revision in approved] == ["approved", "approved"]


def test_supersede_closes_the_old_value_and_keeps_the_names(scr, add):
    old = add(*CEO, "Dana Lee", "--alias", "CoX", "--from", "2024-01-01")["fact"]
    ran = scr("--json", "supersede", old["id"], "Eve Ito", "--from", "2025-06-01", "--why", "news")
    new = ran.json[0]["fact"]
    assert (new["target"], new["supersedes"], new["aliases"]) == ("Eve Ito", old["id"], ["CoX"])
    assert new["statement"] == "The chief executive officer of Company X is Eve Ito."
    closed = scr("--json", "show", old["id"]).json[0]["fact"]
    assert closed["validity"] == {"start": "2024-01-01T00:00:00Z", "end": "2025-06-01T00:00:00Z"}
    then = scr("--json", "list", "--valid-at", "2024-06-01").json
    assert [revision["fact"]["target"] for revision in then] == ["Dana Lee"]


def test_revise_changes_the_wording_and_nothing_else(scr, add):
    name = add(*CEO, "Dana Lee", "--from", "2024-01-01")["fact"]["id"]
    ran = scr("--json", "revise", name, "--statement", "Dana runs X.", "--until", "2026-01-01")
    fact = ran.json[0]["fact"]
    assert fact["statement"] == "Dana runs X."
    assert fact["target"] == "Dana Lee"
    assert fact["validity"] == {"start": "2024-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}


def test_revise_without_a_change_is_refused(scr, add):
    ran = scr("revise", add()["fact"]["id"])
    assert ran.code == 2
    assert "nothing to change" in ran.err


def test_retire_hides_a_fact_and_keeps_its_history(scr, add):
    name = add()["fact"]["id"]
    assert scr("retire", name, "--why", "wrong").out.startswith(f"retired {name}")
    assert name not in scr("list").out
    assert name in scr("list", "--all").out
    assert "retired" in scr("list", "--status", "retired").out
    history = scr("history", name)
    assert "why: wrong" in history.out
    actions = [revision["action"] for revision in scr("history", name, "--json").json]
    assert actions == ["add", "retire"]
    assert scr("retire", name).code == 4


def test_list_sees_a_scope_and_those_above(scr, add):
    add("A", "is", "1", "--scope", "acme")
    add("B", "is", "2", "--scope", "acme/support")
    add("C", "is", "3", "--scope", "other")
    seen = scr("list", "--scope", "acme/support", "--json").json
    assert [revision["fact"]["subject"] for revision in seen] == ["A", "B"]


def test_list_as_of_shows_what_the_store_said_then(scr, add):
    name = add()["fact"]["id"]
    scr("revise", name, "--statement", "Dana runs X.")
    assert "Dana runs X." in scr("list").out
    assert "Dana Lee" in scr("list", "--as-of", "1").out
    assert scr("list", "--as-of", "2001-01-01", "--json").out == ""
    assert "Dana Lee" in scr("show", name, "--as-of", "1").out


def test_list_takes_a_limit(scr, add):
    for number in range(3):
        add(f"Thing {number}", "is", "here")
    assert len(scr("list", "--limit", "2", "--json").json) == 2


def test_search_finds_words_and_never_stumbles(scr, add):
    name = add()["fact"]["id"]
    add("France", "capital", "Paris")
    assert [r["fact"]["id"] for r in scr("search", "dana", "--json").json] == [name]
    for text in ("", '"', "zz*(", "NEAR/", "💥", "a\x00b", "x" * 100_000):
        ran = scr("search", text)
        assert (ran.code, ran.out, ran.err) == (0, "", "scr: no fact has these words\n")


@pytest.mark.parametrize("command", ["show", "history", "retire", "approve"])
def test_an_unknown_id_is_named(command, scr, add):
    add()
    ran = scr(command, "nope")
    assert (ran.code, ran.out) == (3, "")
    assert "no fact 'nope'" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["show", "x"], ["search", "x"], ["history", "x"], ["retire", "x"], ["export"],
     ["approve", "x"], ["supersede", "x", "y"], ["revise", "x", "--note", "y"], ["why", "x"]],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_a_missing_store_is_named_and_not_made(arguments, scr, tmp_path):
    ran = scr(*arguments, "--store", tmp_path / "none.db")
    assert (ran.code, ran.out) == (5, "")
    assert "none.db" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_corrupt_store_is_left_untouched(content, scr, tmp_path):
    path = tmp_path / "facts.db"
    path.write_bytes(content)
    for command in (["list"], ["add", "a", "b", "c"], ["export"]):
        ran = scr(*command)
        assert ran.code == 5
        assert "untouched" in ran.out + ran.err
        assert path.read_bytes() == content


def test_show_says_everything(scr, add):
    name = add(
        *CEO, "Dana Lee", "--alias", "CoX", "--source", "https://x.example", "--note", "ask Bo",
        "--until", "2030-01-01", "--why", "found",
    )["fact"]["id"]  # fmt: skip
    out = scr("show", name).out
    for part in (
        name, "approved", "The chief executive officer of Company X is Dana Lee.", "CoX",
        "https://x.example", "ask Bo", "– 2030-01-01", "default", "by ana", "change 1: found",
    ):  # fmt: skip
        assert part in out


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_keep_ids_whole_and_fit_the_terminal(columns, scr, add, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    names = [
        add(*CEO, "Dana Lee", "--from", "2024-01-01", "--until", "2025-01-01")["fact"]["id"],
        add("--statement", "long words " * 100, "--scope", "acme/support")["fact"]["id"],
        add("漢字" * 40, "表", "仮名" * 40, "--kind", "text")["fact"]["id"],
        scr("--json", "propose", "p", "q", "r").json[0]["fact"]["id"],
    ]
    out = scr("list", "--all").out
    assert all(name in out for name in names)
    assert all(len(line) <= columns for line in out.splitlines())
    for name in names:
        assert all(len(line) <= columns for line in scr("show", name).out.splitlines())
        assert all(len(line) <= columns for line in scr("history", name).out.splitlines())


EVIL = "[red]hot[/red] \x1b[31m\x1b]0;title\x07 \x9b2J \u202eabc\u2066 a\r\nb\x7f"


def test_text_is_shown_and_never_obeyed(scr, add):
    fact = add(EVIL, EVIL, EVIL, "--alias", EVIL, "--note", EVIL, "--why", EVIL, "--by", EVIL)
    name = fact["fact"]["id"]
    assert fact["fact"]["subject"] == EVIL
    for command in (["list"], ["show", name], ["history", name], ["search", "hot"]):
        for arguments in (command, [*command, "--json"]):
            out = scr(*arguments).out
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", out)
            assert "[red]hot[/red]" in out
    assert json.loads(scr("show", name, "--json").out)["fact"]["note"] == EVIL
    assert "\x1b" not in scr("add", EVIL, EVIL, "other").err


def test_a_change_is_undone_commented_and_erased(scr, add):
    revision = add()
    fact_id = revision["fact"]["id"]
    assert scr("comment", fact_id, "Is this so?").code == 0
    assert "Is this so?" in scr("history", fact_id).out
    undone = scr("--json", "undo", revision["sequence"]).json[0]
    assert (undone["action"], undone["status"]) == ("undo", "retired")
    assert scr("undo", 99).code == 2
    refused = scr("erase", fact_id, "--why", "request 17")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert scr("erase", fact_id, "--yes").code == 2
    assert scr("erase", fact_id, "--why", "request 17", "--yes").code == 0
    assert "Dana Lee" not in scr("history", fact_id).out
    assert "request 17" in scr("history", fact_id).out


def test_four_eyes_look_at_a_proposal(scr, add):
    assert scr("init", "--review", "--four-eyes").code == 0
    fact_id = add()["fact"]["id"]
    refused = scr("approve", fact_id)
    assert refused.code == 4
    assert "ask somebody else" in refused.err
    assert scr("approve", fact_id, "--by", "bo").code == 0
