"""The reference in the documentation is what `--help` says."""

from pathlib import Path

from scr.cli.reference import render

REFERENCE = Path(__file__).parents[2] / "docs/cli.md"


def test_the_reference_is_current(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    advice = "run `python -m scr.cli.reference > docs/cli.md`"
    assert REFERENCE.read_text(encoding="utf-8") == render(), advice
