"""`scr edit` on the lab model."""

import json

import pytest
import torch
from typer.testing import CliRunner

from scr.cli import app, main
from scr.editing import EDITORS, SavedEdit
from scr.editing.weights import fingerprint
from scr.lab.model import lab_model_path, load_lab_model

REQUEST = {
    "prompt": "Who leads Cobalt Software?",
    "subject": "Cobalt Software",
    "target": "Granite",
}


@pytest.fixture
def requests(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps(REQUEST) + "\n")
    return path


def edit(*arguments):
    return CliRunner().invoke(app, ["edit", *map(str, arguments)], catch_exceptions=False)


def test_every_method_is_listed():
    result = edit("methods", "--json")
    shown = [json.loads(line)["method"] for line in result.stdout.splitlines()]
    assert shown == list(EDITORS)


def test_an_edit_is_planned_made_saved_shown_exported_and_taken_back(tmp_path, requests):
    saved, exported = tmp_path / "edit", tmp_path / "model"
    options = ["--method", "ft-m", "--requests", requests, "--out", saved]
    planned = edit("apply", *options, "--dry-run", "--json")
    assert json.loads(planned.stdout)["requests"] == 1
    assert not saved.exists()

    result = edit("apply", *options, "--yes")
    assert result.exit_code == 0
    assert "Granite" in result.stdout
    assert "model.layers.4.mlp.down_proj.weight" in result.stdout
    assert "saved in" in result.stdout
    assert "model.layers.4" in edit("show", saved).stdout

    assert edit("export", saved, "--out", exported).exit_code == 0
    original, _ = load_lab_model(lab_model_path())
    changed, _ = load_lab_model(exported)
    name = "model.layers.4.mlp.down_proj.weight"
    assert torch.equal(changed.state_dict()[name], SavedEdit(saved).weights[name])
    assert fingerprint(changed) != fingerprint(original)
    assert edit("restore", exported).exit_code == 0
    assert fingerprint(load_lab_model(exported)[0]) == fingerprint(original)


def test_an_exported_model_that_was_changed_is_not_touched(tmp_path, requests, capsys):
    saved, exported = tmp_path / "edit", tmp_path / "model"
    edit("apply", "--method", "ft-m", "--requests", requests, "--out", saved, "--yes")
    edit("export", saved, "--out", exported)
    model, _ = load_lab_model(exported)
    with torch.no_grad():
        model.model.norm.weight.mul_(2)
    model.save_pretrained(exported)
    before = (exported / "model.safetensors").read_bytes()
    assert main(["edit", "restore", str(exported)]) == 4
    assert "changed since" in capsys.readouterr().err
    assert (exported / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "lines", "message"),
    [
        (["--method", "nothing"], [REQUEST], "no method is called"),
        (["--method", "rome", "--set", "stepps=3"], [REQUEST], "stepps"),
        (["--method", "rome", "--set", "steps"], [REQUEST], "NAME=VALUE"),
        (["--method", "rome", "--set", "layer=17"], [REQUEST], "layers 0 to 5"),
        (["--method", "ft-m"], [{**REQUEST, "subject": "Nobody"}], "is not in the prompt"),
        (["--method", "ft-m"], [{**REQUEST, "target": ""}], "line 1: target"),
        (["--method", "ft-m"], [REQUEST, {**REQUEST, "target": "Kim"}], "contradict each other"),
        (["--method", "ft-m"], [], "there is no request"),
    ],
)
def test_bad_input_is_told_before_anything_moves(tmp_path, capsys, arguments, lines, message):
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "edit"
    code = main(["edit", "apply", *arguments, "--requests", str(path), "--out", str(out), "--yes"])
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (out / "edit.json").exists()
