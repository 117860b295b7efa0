"""`scr plan` and `scr apply`: facts as code."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from scr.cli.options import AsJson, By, StorePath, Why, open_knowledge
from scr.cli.packs import read_content
from scr.cli.render import changed_fields, make_console, print_json, shorten, visible
from scr.errors import InvalidInput

if TYPE_CHECKING:
    from scr.store import Change, Declaration, Plan, Relation, Source

app = typer.Typer()

PacksFolder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Packs (JSONL, YAML, CSV); one file will do.")
]
Prune = Annotated[
    str | None,
    typer.Option("--prune", metavar="SCOPE", help="Retire what no pack holds of this scope."),
]
_SIGNS = {"add": ("+", "green"), "change": ("~", "yellow"), "retire": ("-", "red")}
_SUFFIXES = {".jsonl", ".yaml", ".yml", ".csv"}
RELATIONS = "relations.yaml"
"""File of a folder of packs that declares relations."""


@app.command()
def plan(
    folder: PacksFolder,
    prune: Prune = None,
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Show what packs would change, and change nothing.

    Facts that are new, changed, and (with --prune) retired are listed like a diff, after what the
    folder's relations.yaml declares anew. The last line says how many changes there are, or "no
    changes".
    """
    sources, relations = read_sources(folder)
    with open_knowledge(store) as knowledge:
        author = by or knowledge.author
        made = knowledge.store.plan(sources, by=author, prune=prune, relations=relations)
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
    sources, relations = read_sources(folder)
    with open_knowledge(store, create=True, quiet=as_json) as knowledge:
        author = by or knowledge.author
        if not yes:
            made = knowledge.store.plan(sources, by=author, prune=prune, relations=relations)
            print_plan(made, as_json=as_json)
            if not (made.changes or made.declarations):
                return
            if not sys.stdin.isatty():
                raise InvalidInput("nobody is there to be asked: pass --yes to apply the plan")
            typer.confirm("apply?", abort=True)
        done = knowledge.store.apply(sources, by=author, why=why, prune=prune, relations=relations)
    if yes:
        print_plan(done, as_json=as_json)
    elif not as_json:
        typer.echo("applied")


def read_sources(folder: Path) -> "tuple[list[Source], list[Relation] | None]":
    """Return the packs of a folder, or the one that is named, sorted by name, and its relations.

    Relations are what its file `relations.yaml` declares; without that file they are `None`.

    Raises:
        InvalidInput: there is no pack, or it cannot be read.
    """
    from scr.evaluation.importing import holds_facts, read_facts
    from scr.store import Source, read_relations

    files, relations = [folder], None
    if folder.is_dir():
        found = (path for path in folder.rglob("*") if path.suffix in _SUFFIXES)
        files = sorted(path for path in found if path.name != RELATIONS)
        if (declared := folder / RELATIONS).exists():
            relations = read_relations(read_content(declared), str(declared))
    if not (files and files[0].exists()) and relations is None:
        raise InvalidInput(f"{folder} holds no packs: name a folder with .jsonl or .yaml files")
    sources = []
    for path in files:
        content = read_content(path)
        if path.suffix == ".jsonl" and holds_facts(content):
            sources.append(Source(str(path), content))  # most of it need not be read
        else:
            sources.append(Source(str(path), read_facts(content, path.name)))
    return sources, relations


def print_plan(made: "Plan", *, as_json: bool) -> None:
    """Print a plan like a diff, its size last."""
    if as_json:
        for each in (*made.declarations, *made.changes):
            print_json(each)
        return
    console = make_console()
    for declaration in made.declarations:
        _print_declaration(declaration)
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


def _print_declaration(declaration: "Declaration") -> None:
    """Print what becomes of what is declared of a relation, field by field."""
    console = make_console()
    sign, style = _SIGNS[declaration.kind]
    relation = declaration.after or declaration.before
    if relation is None:
        return
    console.print(Text(f"{sign} relation {visible(relation.name)}", style), soft_wrap=True)
    if declaration.before is None or declaration.after is None:
        return
    before, after = declaration.before.model_dump(), declaration.after.model_dump()
    for name, old in before.items():
        if old != after[name]:
            line = f"    {name}: {_told(old)} → {_told(after[name])}"
            console.print(Text(line, "dim"), soft_wrap=True)


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return shorten("; ".join(value)) or "none"
    return shorten(str(value)) or "none"
