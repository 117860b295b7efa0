"""Runs `scr` in a directory of its own, with a store that only the test knows."""

import json
from typing import NamedTuple

import pytest

from scr.cli import main


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Every line of the output as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self):
        """The JSON error object."""
        (line,) = self.err.splitlines()
        return json.loads(line)["error"]


@pytest.fixture
def scr(capsys, monkeypatch, tmp_path):
    """Run one command line in an empty directory, 100 columns wide, as the user ana."""
    monkeypatch.chdir(tmp_path)
    for name in ("SCR_STORE", "SCR_SCOPE", "SCR_EMBEDDER", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCR_USER", "ana")
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        capsys.readouterr()
        code = main(list(map(str, arguments)))
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def add(scr):
    """Add a fact about Company X, or what else is given, and return its revision."""

    def run(*arguments):
        given = arguments or ("Company X", "chief executive officer", "Dana Lee")
        ran = scr("--json", "add", *given)
        assert ran.code == 0, ran.err
        return ran.json[0]

    return run
