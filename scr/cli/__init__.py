"""The `scr` command: parse, call the library, print. No logic lives here.

`main` is the one place that catches `ScrError`: a user's mistake is a message on stderr and the
error's exit code, never a traceback.
"""

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import scr
from scr.cli import (
    ask,
    checks,
    desk,
    detector,
    doctor,
    editing,
    evaluate,
    facts,
    lab,
    mend,
    packs,
    people,
    plans,
    serve,
)
from scr.cli.options import AsJson, Root, StorePath
from scr.cli.render import print_error, print_failure
from scr.errors import ScrError

__all__ = ["app", "main"]

app = typer.Typer(
    name="scr",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    facts.app,
    packs.app,
    plans.app,
    checks.app,
    desk.app,
    ask.app,
    serve.app,
    doctor.app,
):
    app.add_typer(group)
app.add_typer(serve.keys, name="keys")
editing.app.add_typer(mend.app)
app.add_typer(editing.app, name="edit")
app.add_typer(people.app, name="people")
app.add_typer(lab.app, name="lab")
app.add_typer(evaluate.app, name="eval")
app.add_typer(detector.app, name="detector")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"scr {scr.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    store: StorePath = None,
    as_json: AsJson = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Keep a chat model's knowledge current without touching its weights.

    Facts are kept in a store; for each question SCR decides whether any of them applies, and
    only then puts it into the prompt of the unmodified model.
    """
    context.obj = Root(store, as_json)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (default: the process's) and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack a character
    try:
        command = typer.main.get_command(app)
        result = command.main(arguments, prog_name="scr", standalone_mode=False)
        sys.stdout.flush()
    except ScrError as error:
        print_error(error, as_json=as_json)
        return error.exit_code
    except typer.TyperException as error:
        return _usage_error(error, as_json=as_json)
    except typer.Abort:
        return 130
    except BrokenPipeError:  # the reader went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return result if isinstance(result, int) else 0


def _usage_error(error: typer.TyperException, *, as_json: bool) -> int:
    """Print what is wrong with the command line and where its help is."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "scr"
    message = f"{error.format_message().rstrip('.')}; see `{where} --help`"
    print_failure("UsageError", message, error.exit_code, as_json=as_json)
    return error.exit_code
