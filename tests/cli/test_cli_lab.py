"""The lab and the measurements through the command line."""

import functools
import json
import shutil

import pytest

from scr.edits import EditCase
from scr.lab import training, world
from scr.lab.model import lab_model_path


def test_generate_writes_the_world_that_import_takes_in(scr, tmp_path):
    ran = scr("lab", "generate", "--facts", 300)
    facts = world.generate_world(world.DEFAULT_SEED, 300).facts
    lines = {(line["subject"], line["relation"]): line for line in ran.json}
    assert {(f.subject.name, f.relation) for f in facts} == lines.keys()
    for fact in facts:
        assert f"split:{fact.split}" in lines[fact.subject.name, fact.relation]["tags"]
    assert scr("lab", "generate", "world.jsonl", "--facts", 300, "--seed", 3).code == 0
    count = (tmp_path / "world.jsonl").read_text().count("\n")
    assert scr("import", "world.jsonl", "--json").json[0]["added"] == count


def test_generate_writes_cases_in_many_fields(scr):
    ran = scr("lab", "generate", "--facts", 2000, "--cases", 5, "--format", "cases")
    cases = [EditCase.model_validate(line) for line in ran.json]
    assert len(cases) == 5
    for form, key in (("counterfact", "requested_rewrite"), ("zsre", "src"), ("mquake", "orig")):
        ran = scr("lab", "generate", "--facts", 2000, "--cases", 5, "--format", form)
        assert ran.code == 0
        assert all(key in record for record in ran.json)
    ran = scr("lab", "generate", "c.jsonl", "--facts", 2000, "--cases", 5, "--format", "cases")
    assert "wrote 5 cases to c.jsonl" in ran.out
    ran = scr("lab", "generate", "--facts", 200, "--cases", 500, "--format", "cases")
    assert ran.code == 2
    assert "ask for fewer cases" in ran.err


@pytest.mark.parametrize(
    ("size", "limit"),
    [(world.MIN_SIZE - 1, world.MIN_SIZE), (world.MAX_SIZE + 1, world.MAX_SIZE)],
)
def test_a_world_of_another_size_is_refused(size, limit, scr):
    ran = scr("lab", "generate", "--facts", size)
    assert ran.code == 2
    assert f"equal to {limit};" in ran.err


@pytest.fixture
def tiny(monkeypatch):
    """Make every new run one of a model that trains in a moment."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "layers": 1, "heads": 1}
    budget = {"closed_tokens": 500, "composer_tokens": 500, "other_tokens": 500}
    config = functools.partial(training.TrainingConfig, **sizes, **budget)
    monkeypatch.setattr("scr.lab.training.TrainingConfig", config)


@pytest.mark.usefixtures("tiny")
def test_a_run_is_trained_measured_resumed_and_not_overwritten(scr, tmp_path):
    fresh = ("lab", "train", "run", "--facts", 600, "--questions", 2)
    ran = scr(*fresh, "--tokens", 10, "--json")
    assert ran.code == 0, ran.err
    progress, report = ran.json
    assert progress["tokens"] >= 10
    assert report["scores"]["closed_book"]["n"] == 2
    card = json.loads((tmp_path / "run/model/card.json").read_text())
    assert card["command"] == "scr lab train FOLDER --seed 0 --facts 600 --tokens 10"
    again = scr("lab", "evaluate", "run/model", "--questions", 2, "--json").json[0]
    assert again["scores"] == report["scores"]
    ran = scr(*fresh)
    assert ran.code == 2
    assert "add --resume" in ran.err
    ran = scr(
        "lab", "train", "run", "--resume", "--tokens", progress["tokens"] + 1, "--questions", 2
    )
    assert ran.code == 0
    assert "tokens/s" in ran.out
    assert "closed_book" in ran.out
    assert "for an answer of 12 tokens" in ran.out
    assert "<svg" in (tmp_path / "run/model/losses.svg").read_text()


def test_trace_prints_draws_and_writes_where_facts_sit(scr, tmp_path):
    shutil.copytree(lab_model_path(), tmp_path / "model")
    ran = scr("lab", "trace", "model", "--prompts", 3, "--picture", "trace.png", "--into-card")
    assert ran.code == 0, ran.err
    assert "last subject token" in ran.out
    assert "ROME edits layer" in ran.out
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")
    card = json.loads((tmp_path / "model/card.json").read_text())
    assert card["rome_layer"] == card["memit_layers"][-1]
    assert "causal tracing" in (tmp_path / "model/README.md").read_text()
    (report,) = scr("lab", "trace", "model", "--prompts", 3, "--json").json
    assert report["rome_layer"] == card["rome_layer"]
    assert report["n"] == 3


def test_a_missing_run_or_model_is_named(scr, tmp_path):
    ran = scr("lab", "train", "none", "--resume")
    assert (ran.code, list(tmp_path.iterdir())) == (2, [])
    assert "none holds no run to resume" in ran.err
    ran = scr("lab", "train", "run", "--device", "nonsense")
    assert ran.code == 2
    assert "try --device cpu" in ran.err
    ran = scr("lab", "train", "run", "--facts", 100, "--seed", 3, "--tokens", 1)
    assert ran.code == 2
    assert "make one of a few thousand" in ran.err
    ran = scr("lab", "trace", "--picture", "trace.xyz")
    assert ran.code == 2
    assert "name it with .svg" in ran.err
    for command in ("evaluate", "trace"):
        ran = scr("lab", command, "--into-card")
        assert ran.code == 2
        assert "name its folder" in ran.err
    ran = scr("lab", "evaluate", "none")
    assert ran.code == 6
    assert "scr lab train" in ran.err


def test_selectivity_refuses_what_it_cannot_read_or_write(scr, tmp_path):
    (tmp_path / "facts.jsonl").write_text("{no json\n")
    (tmp_path / "a file").write_text("")
    ran = scr("eval", "selectivity", "facts.jsonl", "none.jsonl", "--out", "out.jsonl")
    assert ran.code == 2
    assert "facts.jsonl, line 1: no JSON" in ran.err
    ran = scr("eval", "selectivity", "none.jsonl", "none.jsonl", "--out", "out.jsonl")
    assert ran.code == 2
    assert "none.jsonl cannot be read" in ran.err
    ran = scr("eval", "selectivity", "x", "y", "--out", "a file/out.jsonl")
    assert ran.code == 2
    assert "cannot be written" in ran.err
