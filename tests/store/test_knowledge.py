"""The shipped pack can be taken in, and its README describes the format that is."""

import re
from pathlib import Path

import pytest
import yaml

from scr.cli import main
from scr.facts import Fact, make_fact
from scr.store import read_relations

KNOWLEDGE = Path(__file__).parents[2] / "knowledge"
PACK = KNOWLEDGE / "quickstart.jsonl"
README = (KNOWLEDGE / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def taken(store):
    with PACK.open("rb") as file:
        store.import_pack(file, name=PACK.name, by="ann")
    return store


def test_the_quickstart_pack_is_taken_in_once(taken):
    count = len(taken.list())
    with PACK.open("rb") as file:
        report = taken.import_pack(file, name=PACK.name, by="ann")
    assert (report.unchanged, report.added, report.revised, report.failed) == (count, 0, 0, 0)
    assert count >= 12


def test_every_fact_of_it_has_sources_questions_and_a_date_where_it_supersedes(taken):
    for fact in (revision.fact for revision in taken.list()):
        assert all(source.startswith("https://") for source in fact.sources)
        assert fact.sources
        assert 2 <= len(fact.questions) <= 3
        assert fact.statement.endswith(".")
        assert not fact.supersedes or fact.validity.start


def test_the_two_false_statements_are_corrected(taken):
    assert taken.get("china-capital").fact.target == "Beijing"
    assert taken.get("japan-capital").fact.target == "Tokyo"
    assert "has rings" in taken.get("saturn-rings").fact.statement


def test_every_field_of_a_fact_is_described():
    described = re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE)
    assert described == list(Fact.model_fields)


def test_the_example_is_a_fact(store):
    (example,) = re.findall(r"```json\n(.*?)\n```", README, flags=re.DOTALL)
    assert store.import_pack([example], name="README.md", by="ann").added == 1


def test_the_derived_sentence_is_the_one_described():
    fact = make_fact(subject="SUBJECT", relation="RELATION", target="TARGET")
    assert f'"{fact.statement}"' in README


def test_the_folder_is_applied_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SCR_STORE", str(tmp_path / "facts.db"))
    assert main(["apply", str(KNOWLEDGE), "--yes"]) == 0
    capsys.readouterr()
    assert main(["plan", str(KNOWLEDGE)]) == 0
    assert capsys.readouterr().out == "no changes\n"


def test_the_relations_of_the_readme_can_be_declared():
    (example,) = re.findall(r"```yaml\n(.*?)\n```", README, flags=re.DOTALL)
    read = read_relations(example.encode(), "README.md")
    assert [relation.name for relation in read] == ["chief executive officer", "member", "spouse"]


def test_the_sample_workflow_calls_commands_that_there_are(capsys):
    path = KNOWLEDGE.parent / "docs" / "examples" / "facts.yml"
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    steps = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = set(re.findall(r"\bscr (\w+)", "\n".join(steps).replace("install scr", "")))
    assert called == {"init", "check", "plan", "apply"}
    for command in called:
        assert main([command, "--help"]) == 0
