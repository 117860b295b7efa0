"""What the documents say is true: code gives the shown output, commands and settings exist."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from scr.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language, document=README):
    """Return the fenced blocks of one language (empty: none is named)."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", document, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in fences if name == language]


def test_the_code_of_the_readme_prints_what_it_shows():
    namespace = {}
    for code in blocks("python"):
        shown = [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), namespace)  # noqa: S102 - our own README
        assert printed.getvalue().splitlines() == shown
    namespace["knowledge"].close()


def commands():
    lab = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
    shown = blocks("") + blocks("", lab)
    lines = [line for block in shown for line in block.splitlines()]
    return [line for line in lines if line.startswith(("scr ", "make "))]


def test_the_readme_shows_commands():
    assert len(commands()) >= 8


@pytest.mark.parametrize("command", commands())
def test_the_commands_of_the_readme_exist(command):
    program, name, *arguments = shlex.split(command, comments=True)
    if program == "make":
        assert f"\n{name}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
        return
    reference = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    groups = [f"scr {name} {word}" for word in arguments[:1]] + [f"scr {name}"]
    (section, *_) = [found for group in groups if (found := section_of(reference, group))]
    for argument in arguments:
        if argument.startswith("--"):
            assert argument in section, f"{name} has no {argument}"


def section_of(reference, command):
    found = re.search(
        rf"^#+ `?{re.escape(command)}`?\n(.*?)(?=^#+ |\Z)", reference, re.DOTALL | re.MULTILINE
    )
    return found and found[1]


def test_the_settings_of_the_readme_exist_with_these_defaults():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", README, flags=re.MULTILINE)
    assert len(rows) >= 5
    for name, shown in rows:
        default = Settings.model_fields[name].default
        words = {"off": False, "on": True, "calibrated": None, "–": "" if default == "" else None}
        assert str(words.get(shown, shown.strip("`"))) == str(default)


def test_the_documents_name_files_that_exist():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^):#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), (document.name, target)


def test_no_line_speaks_of_one_machine():
    for path in DOCUMENTS:
        assert not re.search(r"(?<![\w.])/(home|root|tmp)/", path.read_text(encoding="utf-8")), path
