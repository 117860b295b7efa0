"""Edits that other code computed, where they are at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "check_reference.py"


def test_our_edits_are_those_of_the_reference(public_data, tmp_path):
    folder = public_data / "reference" / "gpt2"
    if not folder.is_dir():
        pytest.skip(f"no reference edits at {folder}: set SCR_DATA to the folder with reference/")
    found = tmp_path / "found.json"
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), "--json", str(found)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(found.read_text(encoding="utf-8"))
    assert results.keys() >= {"ROME", "R-ROME", "MEMIT", "EMMET", "AlphaEdit", "FT"}
    for algorithm, errors in results.items():
        assert errors["total"] <= 1e-2 or errors["total, bias trained"] <= 1e-2, algorithm
