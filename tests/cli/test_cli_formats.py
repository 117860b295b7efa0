"""Facts in many formats, relations, drafts and both times, from the command line."""

import io
import json
import sys

import pytest

TABLE = "id,subject,relation,target,aliases,start\nx,Company X,CEO,Ada,X|Ex,2020-01-01\n"
RELATIONS = """- name: chief executive officer
  synonyms:
  - CEO
  questions:
  - Who runs {subject}?
- name: member
  many_valued: true
"""


@pytest.fixture
def write(tmp_path):
    def to(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return to


def test_a_table_is_tried_and_then_taken_in(scr, write):
    file = write("facts.csv", TABLE)
    tried = scr("import", file, "--dry-run")
    assert tried.out == "nothing was done; it would be: 1 added, 0 revised, 0 unchanged\n"
    assert scr("list").out == ""
    assert scr("import", file).out == "1 added, 0 revised, 0 unchanged\n"
    assert scr("import", file, "--dry-run", "--json").json[0]["unchanged"] == 1


def test_bad_rows_are_named_and_nothing_is_lost(scr, write):
    file = write("facts.csv", TABLE + "y,Company Y,CEO,,,\nz,Company Z,CEO,Cy,,soon\n")
    ran = scr("import", file)
    assert (ran.code, ran.out) == (2, "")
    assert "line 3: it has no target" in ran.err
    assert "line 4: validity.start" in ran.err
    assert scr("list").out == ""
    kept = scr("import", file, "--keep-going")
    assert kept.out == "1 added, 0 revised, 0 unchanged\n"
    assert kept.code == 2


def test_wikidata_with_labels(scr, write):
    claim = {
        "id": "Q1$a",
        "rank": "normal",
        "mainsnak": {
            "snaktype": "value", "property": "P36",
            "datavalue": {"type": "wikibase-entityid", "value": {"id": "Q2"}},
        },
    }  # fmt: skip
    entity = {"id": "Q1", "labels": {"de": {"value": "Nordland"}}, "claims": {"P36": [claim]}}
    file = write("Q1.json", json.dumps({"entities": {"Q1": entity}}))
    labels = write("labels.json", '{"P36": "capital", "Q2": "Nordstadt"}')
    assert scr("import", file, "--labels", labels, "--language", "de").code == 0
    assert "The capital of Nordland is Nordstadt." in scr("list").out
    assert scr("import", file, "--labels", write("bad.json", "[]")).code == 2


def test_standard_input_may_be_of_any_format(scr, monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps([{"statement": "A."}]).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert scr("import", "-").out == "1 added, 0 revised, 0 unchanged\n"


@pytest.mark.parametrize("ending", ["jsonl", "yaml", "csv"])
def test_an_export_applied_elsewhere_is_exported_alike(scr, write, tmp_path, ending):
    scr("import", write("facts.csv", TABLE))
    scr("supersede", "x", "Bob", "--from", "2024-01-01", "--source", "https://example.org")
    file = tmp_path / f"out.{ending}"
    assert scr("export", file).out == f"wrote 2 facts to {file}\n"
    assert scr("export", "--format", ending).out == file.read_text()
    assert scr("plan", file).out == "no changes\n"
    assert scr("--store", "two.db", "apply", file, "--yes").code == 0
    again = tmp_path / f"again.{ending}"
    assert scr("--store", "two.db", "export", again).code == 0
    assert again.read_bytes() == file.read_bytes()


def test_an_export_of_another_time(scr, add, write):
    first = add()["sequence"]
    held = add("Company Y", "CEO", "Bob", "--until", "2020-01-01")["fact"]["id"]
    assert "Bob" not in scr("export", "--as-of", first).out
    assert "Bob" not in scr("export", "--valid-at", "2021-01-01").out
    assert "Bob" in scr("export", "--valid-at", "2019-01-01").out
    assert scr("search", "bob", "--valid-at", "2021-01-01").out == ""
    assert held in scr("search", "bob", "--valid-at", "2019-01-01").out
    scr("retire", held)
    assert held not in scr("search", "bob").out
    assert held in scr("search", "bob", "--all").out


def test_declared_relations_are_planned_applied_and_printed(scr, write, tmp_path):
    write("packs/relations.yaml", RELATIONS)
    write(
        "packs/a.csv",
        "id,subject,relation,target\na,Band,member,Ada\nb,Band,member,Bob\nc,X,CEO,Cy\n",
    )
    folder = tmp_path / "packs"
    scr("init")
    planned = scr("plan", folder).out.splitlines()
    assert planned[:2] == ["+ relation chief executive officer", "+ relation member"]
    assert planned[-1] == "5 changes: 5 to add"
    assert scr("relations").out == "[]\n"
    assert scr("apply", folder, "--yes").code == 0
    assert scr("relations").out == RELATIONS
    assert [each["name"] for each in scr("relations", "--json").json] == [
        "chief executive officer",
        "member",
    ]
    assert scr("plan", folder).out == "no changes\n"
    assert "Who runs X?" in scr("show", "c").out
    assert scr("list", "--relation", "chief executive officer", "--json").json[0]["fact"]["id"] == (
        "c"
    )
    conflict = scr("add", "X", "chief executive officer", "Dee")
    assert conflict.code == 4
    write("packs/relations.yaml", RELATIONS.replace("- CEO", "- CEO\n  - boss"))
    changed = scr("plan", folder).out
    assert "~ relation chief executive officer" in changed
    assert "synonyms: CEO → CEO; boss" in changed
    write("packs/relations.yaml", "[]")
    refused = scr("apply", folder, "--yes")
    assert refused.code == 4
    assert "'member' of 'band'" in refused.err


def test_a_store_is_closed_to_what_a_file_declares(scr, write):
    assert scr("init", "--relations", write("relations.yaml", RELATIONS)).code == 0
    assert scr("add", "X", "ceo", "Ada").code == 0
    assert scr("add", "X", "anthem", "La la").code == 2
    assert scr("relations").out == RELATIONS


def test_a_draft_is_submitted_and_approved(scr, add):
    first = add("--draft", "X", "CEO", "Ada")
    second = add("--draft", "Y", "CEO", "Bob")
    assert first["status"] == "draft"
    ids = [each["fact"]["id"] for each in (first, second)]
    assert len(scr("queue", "drafts", "--json").json) == 2
    assert scr("approve", *ids).code == 4
    assert [line.split()[0] for line in scr("submit", *ids).out.splitlines()] == ["proposed"] * 2
    assert [line.split()[0] for line in scr("approve", *ids).out.splitlines()] == ["approved"] * 2
    assert scr("retire", ids[0], "none").code == 3
    assert len(scr("list", "--json").json) == 2
    assert scr("retire", *ids).code == 0


def test_facts_are_listed_by_kind_and_tag(scr, add):
    add("X", "CEO", "Ada", "--tag", "People")
    add("--kind", "text", "--statement", "Words.")
    assert len(scr("list", "--tag", "people", "--json").json) == 1
    assert len(scr("list", "--kind", "text", "--json").json) == 1
