"""Commands on fact packs: many facts in, all facts out."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from scr.cli.options import AsJson, By, StorePath, Why, open_knowledge
from scr.cli.render import print_json, visible
from scr.errors import InvalidInput, PackInvalid

app = typer.Typer()
STANDARD = Path("-")


@app.command("import")
def import_pack(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Facts as JSON lines; - is standard input.")
    ],
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Take the usable lines of a file with bad ones.")
    ] = False,
    why: Why = "",
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Take in the facts of a file.

    Taking in a file twice changes nothing. A missing store is made. Each unusable line is named
    with its reason; then nothing of the file is taken, unless --keep-going is given.
    """
    lines = read_lines(file)
    name = "standard input" if file == STANDARD else str(file)
    with open_knowledge(store, create=True, quiet=as_json) as knowledge:
        report = knowledge.store.import_pack(
            lines, name=name, by=by or knowledge.author, why=why, keep_going=keep_going
        )
    taken = report.added + report.revised + report.unchanged
    counts = f"{report.added} added, {report.revised} revised, {report.unchanged} unchanged"
    print_json(report) if as_json else typer.echo(counts)
    if report.problems:
        raise PackInvalid(name, report.problems, kept=taken)


def read_lines(file: Path) -> list[bytes]:
    """Return the lines of `file` as bytes: the store names each that is no UTF-8 by its number.

    Raises:
        InvalidInput: the file cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if file == STANDARD else file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
    return content.splitlines(keepends=True)


@app.command("export")
def export_pack(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to; otherwise standard output.")
    ] = STANDARD,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Write the facts as JSON lines, each with its id."""
    with open_knowledge(store) as knowledge:
        if file.exists() and file.samefile(knowledge.store.path):
            raise InvalidInput(f"{file} is the store itself; name another file")
        print_lines(file, knowledge.store.export_pack(), as_json=as_json)


def print_lines(file: Path, lines: Iterable[str], *, as_json: bool, what: str = "facts") -> None:
    """Print `lines`, or write them to `file` and say how many of what there were."""
    if file == STANDARD:
        for line in lines:
            typer.echo(line)
        return
    count = write_lines(file, lines)
    if as_json:
        print_json({"file": str(file), what: count})
    else:
        typer.echo(f"wrote {count} {what} to {visible(str(file))}")


def write_lines(file: Path, lines: Iterable[str]) -> int:
    """Write `lines` to `file` in one step and return their number.

    Raises:
        InvalidInput: the file cannot be written.
    """
    if file.is_dir():
        raise InvalidInput(f"{file} cannot be written: it is a folder")
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    count = 0
    try:
        with beside.open("w", encoding="utf-8") as out:
            for line in lines:
                out.write(f"{line}\n")
                count += 1
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InvalidInput(f"{file} cannot be written: {error.strerror}") from error
    return count


def check_writable(file: Path) -> None:
    """Make sure that a result can be written to `file`, before time is spent on it.

    Raises:
        InvalidInput: it cannot.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.open("a").close()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}") from error
