"""The command line as a whole: global options, errors, exit codes, what it imports."""

import inspect
import json
import os
import subprocess
import sys

import pytest
import typer

import scr as package
from scr import errors
from scr.cli import app, main

HEAVY = ("torch", "transformers", "faiss", "sentence_transformers", "langchain_core", "sklearn")


def commands(command, path=("scr",)):
    """Yield every command that can be run, with its words."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from commands(child, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))
NAMES = "add approve ask demo doctor export history import init list propose retire revise"


def test_every_promised_command_is_there():
    words = {path[1] for path in COMMANDS}
    assert words == {
        *NAMES.split(),
        "relations",
        "search",
        "show",
        "submit",
        "supersede",
        "why",
        "edit",
        "lab",
        "eval",
        "detector",
        "serve",
        "plan",
        "check",
        "queue",
        "usage",
        "preview",
        "undo",
        "comment",
        "erase",
        "apply",
        "keys",
        "people",
    }
    assert {path[2] for path in COMMANDS if path[1] == "lab"} == {
        "train",
        "evaluate",
        "generate",
        "trace",
    }
    assert {path[2] for path in COMMANDS if path[1] == "edit"} == {
        "methods",
        "apply",
        "show",
        "export",
        "restore",
        "train-mend",
    }
    assert {path[2] for path in COMMANDS if path[1] == "eval"} == {"selectivity"}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_takes_store_and_json_and_explains_itself(path, scr):
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert {"--store", "--json"} <= options
    ran = scr(*path[1:], "--help")
    assert ran.code == 0
    summary = inspect.cleandoc(COMMANDS[path].help).split("\n\n")[0]
    assert summary in ran.out
    assert len(summary) <= 62, "the list of commands would cut it off"


def test_help_lists_the_commands(scr):
    for ran in (scr(), scr("--help"), scr("-h")):
        assert ran.code == 0
        assert all(f"\n  {name} " in ran.out for name in NAMES.split())
        assert "..." not in ran.out.partition("Commands:")[2]


def test_version(scr):
    assert scr("--version").out == f"scr {package.__version__}\n"


@pytest.mark.parametrize("place", ["before", "after", "environment", "both"])
def test_the_store_is_named_before_or_after_the_command_or_in_the_environment(
    place, scr, tmp_path, monkeypatch
):
    mine, other = tmp_path / "mine.db", tmp_path / "other.db"
    if place == "environment":
        monkeypatch.setenv("SCR_STORE", str(mine))
        ran = scr("init")
    elif place == "before":
        monkeypatch.setenv("SCR_STORE", str(other))
        ran = scr("--store", mine, "init")
    elif place == "after":
        monkeypatch.setenv("SCR_STORE", str(other))
        ran = scr("init", "--store", mine)
    else:
        ran = scr("--store", other, "init", "--store", mine)
    assert ran.code == 0
    assert mine.exists()
    assert not other.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bogus"], "No such command 'bogus'; see `scr --help`"),
        (["list", "--bogus"], "--bogus; see `scr list --help`"),
        (["show"], "Missing argument 'ID'; see `scr show --help`"),
        (["list", "--status", "dead"], "'dead' is not one of"),
        (["list", "--limit", "0"], "--limit"),
        (["list", "--valid-at", "soon"], "use 2024-03-01 or 2024-03-01T09:30Z"),
        (["list", "--valid-at", "2024-03-01T09:30"], "no time with a zone"),
        (["list", "--as-of", "-1"], "--as-of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_says_what_is_wrong_and_exits_with_2(arguments, message, scr):
    ran = scr(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("scr: ")
    assert message in ran.err
    error = scr("--json", *arguments).error
    assert (error["type"], error["exit_code"]) == ("UsageError", 2)
    assert message in error["message"]


def test_an_error_is_a_message_or_json_with_the_errors_exit_code(scr):
    ran = scr("list")
    assert ran.code == errors.StoreMissing.exit_code == 5
    assert ran.err.startswith("scr: no store at facts.db; make one with `scr")
    error = scr("list", "--json").error
    assert error == {
        "type": "StoreMissing",
        "message": ran.err.removeprefix("scr: ").rstrip("\n"),
        "exit_code": 5,
    }


def test_a_bad_setting_is_a_users_mistake(scr, monkeypatch):
    monkeypatch.setenv("SCR_THRESHOLD", "2")
    ran = scr("list")
    assert ran.code == 2
    assert "threshold" in ran.err


def test_an_interrupt_exits_with_130(scr, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    scr("init")
    monkeypatch.setattr("scr.store.Store.page", interrupt)
    assert scr("list") == (130, "", "")


def run_process(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, **options
    )


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["add", "--help"], ["show", "x1"]])
def test_looking_at_facts_imports_nothing_heavy(arguments, tmp_path):
    store = tmp_path / "facts.db"
    assert main(["--store", str(store), "add", "X", "is", "Y", "--id", "x1"]) == 0
    heavy = (*HEAVY, "sqlalchemy") if "--help" in arguments else HEAVY
    probe = (
        "import sys, json; from scr.cli import main; code = main(sys.argv[1:]);"
        f"print(json.dumps([code, [m for m in {heavy!r} if m in sys.modules]]))"
    )
    ran = run_process("-c", probe, "--store", str(store), *arguments)
    assert json.loads(ran.stdout.splitlines()[-1]) == [0, []], ran.stderr


@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["export"], ["--help"]])
def test_a_reader_that_goes_away_is_no_error(command, tmp_path):
    store = str(tmp_path / "facts.db")
    assert main(["--store", store, "add", "X", "is", "Y"]) == 0
    child = subprocess.Popen(
        [sys.executable, "-m", "scr", "--store", store, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdout.close()  # long before the first word is written
    complaint = child.stderr.read()
    child.stderr.close()
    assert (child.wait(60), complaint) == (1, b"")


def test_the_module_runs_as_the_command_does(tmp_path):
    ran = run_process("-m", "scr", "show", "nope", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (5, "")
    assert "Traceback" not in ran.stderr


def test_a_terminal_without_the_characters_still_gets_an_answer(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    store = str(tmp_path / "facts.db")
    ran = run_process("-m", "scr", "--store", store, "add", "Žižkov", "in", "東京", env=environment)
    assert ran.returncode == 0, ran.stderr
    assert "\\u6771\\u4eac" in ran.stdout
