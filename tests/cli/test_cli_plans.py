"""`scr plan` and `scr apply`."""

import json

import pytest

from scr.store import Source, Store

ADA = {"id": "head", "subject": "Company X", "relation": "head", "target": "Ada"}
BOB = {
    "id": "next",
    "subject": "Company X",
    "relation": "head",
    "target": "Bob",
    "supersedes": "head",
    "validity": {"start": "2024-01-01"},
}


@pytest.fixture
def packs(tmp_path):
    folder = tmp_path / "packs"
    folder.mkdir()

    def write(name, *facts):
        text = (
            facts[0] if isinstance(facts[0], str) else "".join(f"{json.dumps(f)}\n" for f in facts)
        )
        (folder / name).write_text(text, encoding="utf-8")
        return folder

    return write


def test_a_plan_is_shown_applied_and_then_empty(scr, packs):
    folder = packs("a.jsonl", ADA)
    assert scr("init").code == 0
    planned = scr("plan", folder)
    assert planned.out.splitlines() == [
        "+ head  The head of Company X is Ada.",
        "1 change: 1 to add",
    ]
    assert scr("list").out.count("Ada") == 0
    assert (
        scr("apply", folder, "--yes", "--why", "first").out.splitlines()[-1] == "1 change: 1 to add"
    )
    assert scr("plan", folder).out == "no changes\n"
    packs("a.jsonl", {**ADA, "note": "checked"})
    shown = scr("plan", folder).out
    assert "~ head" in shown
    assert "note: none → checked" in shown
    assert shown.splitlines()[-1] == "1 change: 1 to change"


def test_packs_may_refer_to_each_other_in_any_order(scr, packs):
    packs("a.jsonl", BOB)
    folder = packs("b.jsonl", ADA)
    assert scr("apply", folder, "--yes").out.splitlines()[-1] == "2 changes: 2 to add"
    assert scr("plan", folder).out == "no changes\n"


def test_yaml_says_the_same_as_json(scr, packs):
    folder = packs("a.jsonl", ADA)
    scr("apply", folder, "--yes")
    (folder / "a.jsonl").unlink()
    packs("a.yaml", "- id: head\n  subject: Company X\n  relation: head\n  target: Ada\n")
    assert scr("plan", folder).out == "no changes\n"
    packs("b.yaml", "- id: t\n  statement: The office is open.\n  validity: {start: 2024-03-01}\n")
    assert "1 to add" in scr("plan", folder).out


def test_what_no_pack_holds_is_retired_only_when_asked(scr, packs, add):
    add("Company Y", "head", "Cid")
    folder = packs("a.jsonl", ADA)
    scr("apply", folder, "--yes")
    assert scr("plan", folder).out == "no changes\n"
    assert scr("plan", folder, "--prune", "acme").out == "no changes\n"
    pruned = scr("plan", folder, "--prune", "default").out
    assert "Cid" in pruned
    assert pruned.splitlines()[-1] == "1 change: 1 to retire"
    scr("apply", folder, "--prune", "default", "--yes")
    assert "Cid" not in scr("list").out


def test_nothing_is_taken_where_a_line_is_bad(scr, packs):
    packs("a.jsonl", ADA)
    folder = packs("b.jsonl", '{"id": "x"}\n')
    scr("init")
    for command in (("plan", folder), ("apply", folder, "--yes")):
        ran = scr(*command)
        assert ran.code == 2
        assert "b.jsonl: 1 unusable line" in ran.err
    assert scr("list").out.count("Ada") == 0


@pytest.mark.parametrize("text", ["a: [", "just words", "- 3\n"])
def test_bad_yaml_is_named(scr, packs, text):
    scr("init")
    ran = scr("plan", packs("a.yaml", text))
    assert ran.code == 2
    assert "a.yaml" in ran.err


def test_one_id_in_two_packs_is_refused(scr, packs):
    packs("a.jsonl", ADA)
    folder = packs("b.jsonl", {**ADA, "target": "Bob"})
    scr("init")
    assert "line 1 of" in scr("plan", folder).err


def test_somebody_has_to_say_yes(scr, packs):
    ran = scr("apply", packs("a.jsonl", ADA))
    assert ran.code == 2
    assert "--yes" in ran.err
    assert scr("list").out.count("Ada") == 0


def test_a_folder_without_packs_is_an_error(scr, tmp_path):
    scr("init")
    assert "holds no packs" in scr("plan", tmp_path / "nothing").err
    (tmp_path / "empty").mkdir()
    assert "holds no packs" in scr("plan", tmp_path / "empty").err


def test_in_a_store_for_review_applying_proposes(scr, packs):
    scr("init", "--review")
    shown = scr("apply", packs("a.jsonl", ADA), "--yes").out
    assert "waits for approval" in shown
    assert scr("plan", packs("a.jsonl", ADA)).out == "no changes\n"


def test_a_plan_changes_nothing(tmp_path):
    with Store.open(tmp_path / "facts.db", create=True) as store:
        source = Source("a", [json.dumps(ADA)])
        assert str(store.plan([source], by="ann")) == "1 change: 1 to add"
        assert store.sequence == 0
        done = store.apply([source], by="ann")
        assert done == store.apply([source], by="ann").model_copy(update={"changes": done.changes})
        assert store.sequence == 1
