"""Packs in and out through the command line."""

import io
import json

import pytest

GOOD = [
    {"subject": "France", "relation": "capital", "target": "Paris"},
    {"subject": "Company X", "relation": "chief executive officer", "target": "Dana Lee"},
    {"statement": "Tea is at four.", "tags": ["[bold]tea[/bold]"]},
]


def write(path, lines):
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def test_importing_twice_changes_nothing(scr, tmp_path):
    pack = write(tmp_path / "pack.jsonl", GOOD)
    first = scr("import", pack)
    assert (first.code, first.out) == (0, "3 added, 0 revised, 0 unchanged\n")
    assert first.err == "scr: made a new store at facts.db\n"
    second = scr("import", pack, "--json")
    assert second.err == ""
    assert second.json[0]["unchanged"] == 3
    assert len(scr("list", "--json").json) == 3


def test_what_is_exported_imports_into_another_store_unchanged(scr, tmp_path):
    scr("import", write(tmp_path / "pack.jsonl", GOOD))
    printed = scr("export")
    written = scr("export", "out.jsonl")
    assert written.out == "wrote 3 facts to out.jsonl\n"
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == printed.out
    assert scr("--store", "other.db", "import", "out.jsonl").code == 0
    assert scr("--store", "other.db", "export").out == printed.out
    assert scr("export", "out.jsonl", "--json").json == [{"file": "out.jsonl", "facts": 3}]
    assert sorted(path.name for path in tmp_path.iterdir() if "jsonl" in path.name) == [
        "out.jsonl",
        "pack.jsonl",
    ]


def test_standard_input_is_read(scr, monkeypatch):
    content = "".join(f"{json.dumps(line)}\n" for line in GOOD).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert scr("import", "-", "--json").json[0]["added"] == 3


def test_a_bad_line_is_named_and_nothing_is_taken(scr, tmp_path):
    pack = write(tmp_path / "pack.jsonl", [*GOOD, {"subject": "Rome", "relation": "mayor"}])
    with pack.open("ab") as file:
        file.write(b"{not json\n\xff\xfe\n")
    ran = scr("import", pack)
    assert (ran.code, ran.out) == (2, "")
    assert "3 unusable lines, nothing was taken" in ran.err
    for number, reason in ((4, "no target"), (5, ""), (6, "")):
        assert f"  line {number}: " in ran.err
        assert reason in ran.err
    assert scr("list", "--json").out == ""
    error = scr("import", pack, "--json").error
    assert (error["type"], error["exit_code"]) == ("PackInvalid", 2)


def test_keep_going_takes_the_others_and_still_names_the_bad(scr, tmp_path):
    pack = write(tmp_path / "pack.jsonl", [GOOD[0], {"subject": "Rome", "relation": "mayor"}])
    ran = scr("import", pack, "--keep-going", "--json")
    assert ran.code == 2
    assert ran.json[0]["added"] == 1
    assert "line 2" in ran.error["message"]
    assert "the other 1 were taken" in ran.error["message"]
    assert len(scr("list", "--json").json) == 1


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_pack_that_cannot_be_read_is_named(name, scr, tmp_path):
    ran = scr("import", name)
    assert ran.code == 2
    assert f"scr: {name} cannot be read: " in ran.err
    assert not (tmp_path / "facts.db").exists()


def test_an_export_that_cannot_be_written_is_named_and_leaves_nothing(scr, add, tmp_path):
    add()
    for name in ("no/such/folder.jsonl", "."):
        ran = scr("export", name)
        assert ran.code == 2
        assert "cannot be written" in ran.err
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("facts.db")] == []


def test_an_export_never_replaces_the_store(scr, add, tmp_path):
    add()
    for name in ("facts.db", "./facts.db", tmp_path / "facts.db"):
        ran = scr("export", name)
        assert ran.code == 2
        assert "is the store itself" in ran.err
    assert len(scr("list", "--json").json) == 1
