"""The lab and the measurements through the command line."""

import functools
import json

import pytest

from scr.lab import training, world


def test_generate_writes_the_world_that_import_takes_in(scr):
    ran = scr("lab", "generate")
    facts = world.generate_world(world.DEFAULT_SEED, world.DEFAULT_SIZE).facts
    assert ran.json == [
        {"subject": f.subject.name, "relation": f.relation, "target": f.target.name} for f in facts
    ]
    assert scr("lab", "generate", "world.jsonl", "--facts", 100, "--seed", 3).code == 0
    assert scr("import", "world.jsonl", "--json").json[0]["added"] == 100


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
    budget = {"closed_tokens": 500, "context_tokens": 500}
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


def test_a_missing_run_or_model_is_named(scr, tmp_path):
    ran = scr("lab", "train", "none", "--resume")
    assert (ran.code, list(tmp_path.iterdir())) == (2, [])
    assert "none holds no run to resume" in ran.err
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
