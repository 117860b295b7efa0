"""`scr plan` and `scr apply`: facts as code."""

import json
import sys
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from scr.cli.options import AsJson, By, StorePath, Why, open_knowledge
from scr.cli.packs import read_lines
from scr.cli.render import changed_fields, make_console, print_json, shorten, visible
from scr.errors import InvalidInput, PackInvalid

if TYPE_CHECKING:
    from scr.store import Change, Plan, Source

app = typer.Typer()

PacksFolder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Packs (JSONL, YAML); one file will do.")
]
Prune = Annotated[
    str | None,
    typer.Option("--prune", metavar="SCOPE", help="Retire what no pack holds of this scope."),
]
_SIGNS = {"add": ("+", "green"), "change": ("~", "yellow"), "retire": ("-", "red")}
_SUFFIXES = {".jsonl", ".yaml", ".yml"}


@app.command()
def plan(
    folder: PacksFolder,
    prune: Prune = None,
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Show what packs would change, and change nothing.

    Facts that are new, changed, and (with --prune) retired are listed like a diff. The last line
    says how many changes there are, or "no changes".
    """
    sources = read_sources(folder)
    with open_knowledge(store) as knowledge:
        made = knowledge.store.plan(sources, by=by or knowledge.author, prune=prune)
    print_plan(made, as_json=as_json)


@app.command()
def apply(
    folder: PacksFolder,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    prune: Prune = None,
    why: Why = "",
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Bring the store to what packs say, all of it or nothing.

    Shows the plan first, and asks; a missing store is made.
    """
    sources = read_sources(folder)
    with open_knowledge(store, create=True, quiet=as_json) as knowledge:
        author = by or knowledge.author
        if not yes:
            made = knowledge.store.plan(sources, by=author, prune=prune)
            print_plan(made, as_json=as_json)
            if not made.changes:
                return
            if not sys.stdin.isatty():
                raise InvalidInput("nobody is there to be asked: pass --yes to apply the plan")
            typer.confirm("apply?", abort=True)
        done = knowledge.store.apply(sources, by=author, why=why, prune=prune)
    if yes:
        print_plan(done, as_json=as_json)
    elif not as_json:
        typer.echo("applied")


def read_sources(folder: Path) -> "list[Source]":
    """Return the packs of a folder, or the one that is named, sorted by name.

    Raises:
        InvalidInput: there is none, or it cannot be read.
    """
    from scr.store import Source

    files = [folder]
    if folder.is_dir():
        found = (path for path in folder.rglob("*") if path.suffix in _SUFFIXES)
        files = sorted(path for path in found if path.name != "relations.yaml")
    if not files or not files[0].exists():
        raise InvalidInput(f"{folder} holds no packs: name a folder with .jsonl or .yaml files")
    return [Source(str(path), _lines_of(path)) for path in files]


def _lines_of(path: Path) -> list[str | bytes]:
    return [*read_lines(path)] if path.suffix == ".jsonl" else [*_yaml_lines(path)]


def _yaml_lines(path: Path) -> Iterator[str]:
    """Yield the facts of a YAML list as lines of JSON; their numbers are those in the list."""
    import yaml

    try:
        facts = yaml.safe_load(b"".join(read_lines(path)))
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PackInvalid(str(path), [(1, f"is no YAML: {reason}")]) from error
    if facts is None:
        return
    if not isinstance(facts, list):
        raise PackInvalid(str(path), [(1, "is no list: begin each fact with `- `")])
    for fact in facts:
        yield json.dumps(fact, ensure_ascii=False, default=_plain)


def _plain(value: object) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)


def print_plan(made: "Plan", *, as_json: bool) -> None:
    """Print a plan like a diff, its size last."""
    if as_json:
        for change in made.changes:
            print_json(change)
        return
    console = make_console()
    for change in made.changes:
        _print_change(change)
    console.print(str(made))


def _print_change(change: "Change") -> None:
    console = make_console()
    sign, style = _SIGNS[change.kind]
    waits = "  (waits for approval)" if change.status == "proposed" else ""
    fact = change.after
    head = f"{sign} {visible(fact.id)}  {shorten(fact.statement)}{waits}"
    console.print(Text(head, style), soft_wrap=True)
    if change.kind == "change" and change.before is not None:
        for name, old, new in changed_fields(change.before, fact):
            console.print(Text(f"    {name}: {old} → {new}", "dim"), soft_wrap=True)
