"""Commands on fact packs: many facts in, all facts out."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from scr.cli.options import AsJson, AsOf, By, ScopePath, StorePath, ValidAt, Why, open_knowledge
from scr.cli.render import print_json, visible
from scr.errors import InvalidInput, PackInvalid

app = typer.Typer()
STANDARD = Path("-")
Format = Literal["jsonl", "yaml", "csv"]
_FORMATS: dict[str, Format] = {".yaml": "yaml", ".yml": "yaml", ".csv": "csv"}


@app.command("import")
def import_pack(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Facts in any format; - is standard input.")
    ],
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Take the usable lines of a file with bad ones.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="What Wikidata's ids are called, as JSON."),
    ] = None,
    language: Annotated[
        str, typer.Option("--language", metavar="CODE", help="Of Wikidata's labels.")
    ] = "en",
    why: Why = "",
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Take in the facts of a file.

    Formats: JSON lines, JSON, YAML, CSV (the header names the fields, | parts lists), Wikidata's
    entity documents, records in the fields of CounterFact or zsRE. Taking in a file twice changes
    nothing. A missing store is made. Each unusable line is named with its reason; then nothing of
    the file is taken, unless --keep-going is given.
    """
    from scr.evaluation.importing import read_facts, read_labels

    called = read_labels(read_content(labels), str(labels)) if labels else None
    name = "standard input" if file == STANDARD else str(file)
    pack = read_facts(read_content(file), name, labels=called, language=language)
    with open_knowledge(store, create=True, quiet=as_json) as knowledge:
        report = knowledge.store.import_pack(
            pack, name=name, by=by or knowledge.author, why=why, keep_going=keep_going,
            dry_run=dry_run,
        )  # fmt: skip
    taken = report.added + report.revised + report.unchanged
    counts = f"{report.added} added, {report.revised} revised, {report.unchanged} unchanged"
    told = f"nothing was done; it would be: {counts}" if dry_run else counts
    print_json(report) if as_json else typer.echo(told)
    if report.problems:
        raise PackInvalid(name, report.problems, kept=taken)


def read_content(file: Path) -> bytes:
    """Return what is in `file`.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if file == STANDARD else file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error


@app.command("export")
def export_pack(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to; otherwise standard output.")
    ] = STANDARD,
    written_as: Annotated[
        Format | None,
        typer.Option("--format", help="Otherwise seen from the ending of FILE, or jsonl."),
    ] = None,
    valid_at: ValidAt = None,
    as_of: AsOf = None,
    scope: ScopePath = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Write the approved facts as a pack, each with its id.

    The same facts give the same bytes. Formats: JSON lines, YAML and CSV.
    """
    chosen = written_as or _FORMATS.get(file.suffix.lower(), "jsonl")
    with open_knowledge(store) as knowledge:
        if file.exists() and file.samefile(knowledge.store.path):
            raise InvalidInput(f"{file} is the store itself; name another file")
        lines = knowledge.store.export_pack(
            valid_at=valid_at, as_of=as_of, scope=scope, written_as=chosen
        )
        count = knowledge.store.page(valid_at=valid_at, as_of=as_of, scope=scope, limit=0).total
        print_lines(file, lines, as_json=as_json, count=count)


@app.command("relations")
def show_relations(store: StorePath = None, as_json: AsJson = False) -> None:
    """Print what is declared of relations, as relations.yaml.

    `scr apply` declares what the file relations.yaml of its folder says.
    """
    from scr.store import write_relations

    with open_knowledge(store) as knowledge:
        declared = knowledge.store.declared
    if as_json:
        for relation in declared:
            print_json(relation)
    else:
        typer.echo(write_relations(declared), nl=False)


def print_lines(
    file: Path,
    lines: Iterable[str],
    *,
    as_json: bool,
    what: str = "facts",
    count: int | None = None,
) -> None:
    """Print `lines`, or write them to `file` and say how many of what there were.

    Args:
        file: where to; `STANDARD` prints.
        lines: without line ends.
        as_json: say it in JSON.
        what: they are.
        count: of them, if it is not that of the lines.
    """
    if file == STANDARD:
        for line in lines:
            typer.echo(line)
        return
    written = write_lines(file, lines)
    count = written if count is None else count
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
