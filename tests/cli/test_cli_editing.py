"""`scr edit` on the lab model."""

import json
import shutil

import pytest
import torch
from rich.progress import Progress
from safetensors.torch import load_file

from scr.cli import editing
from scr.cli.editing_tables import one_bar_each, show_seconds, show_value
from scr.editing import EDITORS, SavedEdit
from scr.lab.model import lab_model_path, load_lab_model

REQUEST = {
    "prompt": "Who leads Cobalt Software?",
    "subject": "Cobalt Software",
    "target": "Granite",
}
MATRIX = "model.layers.4.mlp.down_proj.weight"
FT = ("edit", "apply", "--method", "ft-m", "--requests", "requests.jsonl")


@pytest.fixture
def scr(scr, monkeypatch, tmp_path):
    """Keep second moments in the test's folder, and few texts for them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(editing, "_LAB_TEXTS", 60)
    write(tmp_path / "requests.jsonl", REQUEST)
    return scr


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_every_method_is_listed_with_its_settings(scr):
    assert [line["method"] for line in scr("edit", "methods", "--json").json] == list(EDITORS)
    assert "rank-one" in scr("edit", "methods").out
    for name, kind in EDITORS.items():
        lines = scr("edit", "methods", name, "--json").json
        assert [line["name"] for line in lines] == list(kind.Params.model_fields)
        assert all(line["meaning"] for line in lines), name
    assert "Adam's learning rate" in scr("edit", "methods", "ft").out
    assert scr("edit", "methods", "nothing").code == 2


def test_a_dry_run_shows_the_plan_and_writes_nothing(scr, tmp_path):
    ran = scr(*FT, "--out", "edit", "--dry-run", "--set", "steps=3")
    assert (ran.code, ran.err) == (0, "")
    assert f"{MATRIX}  256 × 512" in ran.out
    assert "chosen for the lab model" in ran.out
    assert "rough estimates: " in ran.out
    (plan,) = scr(*FT, "--out", "edit", "--dry-run", "--set", "steps=3", "--json").json
    assert plan["settings"]["steps"] == {"value": 3, "source": "given"}
    assert plan["changes"] == [{"name": MATRIX, "shape": [256, 512]}]
    assert not (tmp_path / "edit").exists()


def test_an_edit_is_made_saved_shown_exported_and_taken_back(scr, tmp_path):
    ran = scr(*FT, "--out", "edit", "--yes")
    assert (ran.code, ran.err) == (0, "")
    assert "1 of 1 answers begin with their targets" in ran.out
    shown = scr("edit", "show", "edit")
    assert "ft-m of lab (float32): 1 request" in shown.out
    for said in ("Who leads Cobalt Software?", "Granite", MATRIX, "held-out text"):
        assert said in ran.out
        assert said in shown.out

    ran = scr("edit", "export", "edit", "--out", "model")
    assert (ran.code, ran.out) == (0, "wrote model: lab with 1 edit by ft-m\n")
    changed, _ = load_lab_model(tmp_path / "model")
    assert torch.equal(changed.state_dict()[MATRIX], SavedEdit(tmp_path / "edit").weights[MATRIX])
    note = (tmp_path / "model/scr-edit/README.md").read_text()
    assert "`Granite`" in note
    again = scr(*FT, "--model", "model", "--out", "more", "--dry-run", "--json")
    assert again.json[0]["method"] == "ft-m"  # an exported model can be edited on

    ran = scr("edit", "restore", "model")
    assert (ran.code, ran.out) == (0, "took 1 edit by ft-m out of model: it is lab again\n")
    before, after = (
        load_file(f / "model.safetensors") for f in (lab_model_path(), tmp_path / "model")
    )
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert weight.dtype == after[name].dtype  # also the type: bfloat16 on disk
        assert torch.equal(weight.view(torch.uint8), after[name].view(torch.uint8))
    assert not (tmp_path / "model/scr-edit").exists()
    assert scr("edit", "restore", "model").code == 2


def test_what_is_printed_as_json(scr):
    (made,) = scr(*FT, "--out", "edit", "--yes", "--json").json
    assert made["plan"]["method"] == made["report"]["method"] == "ft-m"
    assert made["answers"][0]["target"] == "Granite"
    (shown,) = scr("edit", "show", "edit", "--json").json
    assert shown["report"] == made["report"]
    assert shown["run"]["answers"] == made["answers"]
    (exported,) = scr("edit", "export", "edit", "--out", "model", "--json").json
    (restored,) = scr("edit", "restore", "model", "--json").json
    assert exported == restored == {
        "folder": "model", "model": "lab", "method": "ft-m", "requests": 1
    }  # fmt: skip


def test_second_moments_are_found_again_by_another_edit(scr):
    rome = ("edit", "apply", "--method", "rome", "--requests", "requests.jsonl", "--json")
    quick = ("--set", "steps=2", "--set", "contexts=4")
    (first,) = scr(*rome, *quick, "--out", "one", "--yes").json
    assert first["plan"]["moments"] == {"0": "to be collected"}
    assert first["plan"]["settings"]["layer"]["source"] == "the model's card"
    assert first["plan"]["settings"]["contexts"]["value"] == [4]
    (second,) = scr(*rome, *quick, "--out", "two", "--dry-run").json
    assert second["moments"] == {"0": "cached"}
    shown = scr(*rome[:-1], *quick, "--out", "two", "--dry-run").out
    assert "second moments, layers 0: cached" in shown


def test_a_corpus_of_ones_own(scr, tmp_path):
    (tmp_path / "texts.txt").write_text("Who leads it? Granite.\n\nIt is so.\n" * 4)
    write(tmp_path / "texts.jsonl", "One text.", {"text": "Another."})
    rome = ("edit", "apply", "--method", "rome", "--requests", "requests.jsonl", "--out", "edit")
    ran = scr(*rome, "--dry-run", "--corpus", "texts.txt")
    assert "give more text" in ran.out
    (plan,) = scr(*rome, "--dry-run", "--corpus", "texts.jsonl", "--json").json
    assert plan["moment_tokens"] < 10
    (tmp_path / "texts.jsonl").write_text("{}\n")
    ran = scr(*rome, "--dry-run", "--corpus", "texts.jsonl")
    assert (ran.code, "texts.jsonl, line 1: give a string" in ran.err) == (2, True)
    shutil.copytree(lab_model_path(), tmp_path / "other")
    (tmp_path / "other/card.json").unlink()
    ran = scr(*rome, "--dry-run", "--model", "other", "--set", "second_moment=true")
    assert (ran.code, "needs second moments" in ran.err) == (2, True)
    ran = scr(
        *rome, "--dry-run", "--model", "other", "--set", "second_moment=true", "--corpus", "lab"
    )
    assert ran.code == 0


def test_an_edit_saved_from_python_is_exported_with_its_model_named(scr, tmp_path):
    scr(*FT, "--out", "edit", "--yes", "--json")
    (tmp_path / "edit/run.json").unlink()
    assert scr("edit", "show", "edit").code == 0
    ran = scr("edit", "export", "edit", "--out", "model")
    assert (ran.code, "name it with --model" in ran.err) == (2, True)
    assert scr("edit", "export", "edit", "--out", "model", "--model", "lab").code == 0


def test_an_exported_model_that_was_changed_is_not_touched(scr, tmp_path):
    scr(*FT, "--out", "edit", "--yes", "--json")
    scr("edit", "export", "edit", "--out", "model")
    network, _ = load_lab_model(tmp_path / "model")
    with torch.no_grad():
        network.model.norm.weight.mul_(2)
    network.save_pretrained(tmp_path / "model")
    before = (tmp_path / "model/model.safetensors").read_bytes()
    ran = scr("edit", "restore", "model")
    assert (ran.code, "changed since" in ran.err) == (4, True)
    assert (tmp_path / "model/model.safetensors").read_bytes() == before
    (tmp_path / "model/model.safetensors").write_bytes(before[:100])
    assert scr("edit", "restore", "model").code == 6


def test_nobody_to_ask_and_folders_that_are_taken(scr, tmp_path):
    ran = scr(*FT, "--out", "edit")
    assert (ran.code, "pass --yes" in ran.err) == (2, True)
    ran = scr(*FT, "--out", "edit", "--json")
    assert (ran.code, ran.json[0]["method"]) == (2, "ft-m")
    assert not (tmp_path / "edit").exists()
    for taken in ("requests.jsonl", "."):
        ran = scr(*FT, "--out", taken, "--yes")
        assert (ran.code, "not an empty folder" in ran.err) == (2, True)
    for command in ("show", "export", "restore"):
        ran = scr("edit", command, "nowhere", *(["--out", "model"] if command == "export" else []))
        assert (ran.code, "nowhere holds no" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "lines", "message"),
    [
        (["--method", "nothing"], [REQUEST], "no method is called"),
        (["--method", "rome", "--set", "stepps=3"], [REQUEST], "rome has no stepps"),
        (["--method", "rome", "--set", "corpus=x"], [REQUEST], "rome has no corpus"),
        (["--method", "rome", "--set", "steps"], [REQUEST], "NAME=VALUE"),
        (["--method", "rome", "--set", "steps=many"], [REQUEST], "steps: Input should be"),
        (["--method", "rome", "--set", "layer=17"], [REQUEST], "layers 0 to 5"),
        (["--method", "memit", "--set", "layers=2,1"], [REQUEST], "rising order"),
        (["--method", "ft-m"], [{**REQUEST, "subject": "Nobody"}], "is not in the prompt"),
        (["--method", "ft-m"], [{**REQUEST, "prompt": "{} and {}?"}], "2 times"),
        (["--method", "ft-m"], [{**REQUEST, "target": ""}], "line 1: target"),
        (["--method", "ft-m"], [{**REQUEST, "target": "a " * 3000}], "the model reads"),
        (["--method", "ft-m"], [REQUEST, {**REQUEST, "target": "Kim"}], "contradict each other"),
        (["--method", "ft-m"], [], "there is no request"),
        (["--method", "ft-m", "--device", "nonsense"], [REQUEST], "try --device cpu"),
        (["--method", "ft-m", "--dtype", "int8"], [REQUEST], "--dtype"),
        (["--method", "rome", "--corpus", "none.txt"], [REQUEST], "cannot be read"),
    ],
)
def test_bad_input_is_told_before_anything_moves(scr, tmp_path, arguments, lines, message):
    write(tmp_path / "requests.jsonl", *lines)
    ran = scr("edit", "apply", *arguments, "--requests", "requests.jsonl", "--out", "edit", "--yes")
    assert ran.code == 2
    assert message in ran.err
    assert not (tmp_path / "edit").exists()


def test_each_part_of_the_work_has_one_bar():
    bars = Progress(disable=True)
    told = one_bar_each(bars)
    for done in range(5):
        told("targets", done, 5)
    told("layers", 1, 2)
    assert [(task.description, task.completed) for task in bars.tasks] == [
        ("targets", 4), ("layers", 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "none"), ((), "the usual ones"), ((1, 2), "1, 2"), (0.5, "0.5")]
)
def test_values_as_a_person_reads_them(value, shown):
    assert show_value(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.1, "1 s"), (59, "59 s"), (600, "10 min"), (36000, "10 h")]
)
def test_times_as_a_person_reads_them(seconds, shown):
    assert show_seconds(seconds) == shown
