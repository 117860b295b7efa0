"""How facts, decisions and errors look on a terminal, and as JSON.

Text of facts, queries and models is shown as it is, but never obeyed: control characters,
terminal escapes and overrides of the writing direction come out as visible escapes, and nothing
is read as markup.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, time
from typing import Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scr.errors import ScrError
from scr.facts import DEFAULT_SCOPE, Fact, Revision, Validity, differences

# C0 and C1 controls, line separators, direction overrides and isolates, surrogates, the BOM.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_STATUS_STYLE = {"approved": "green", "proposed": "yellow", "draft": "yellow", "retired": "dim"}


def visible(text: str, *, lines: bool = False) -> str:
    """Return `text` with every character that could steer a terminal spelled out.

    Args:
        text: any text.
        lines: keep line breaks and tabs; otherwise they are spelled out too.
    """

    def spell(match: re.Match[str]) -> str:
        character = match[0]
        if lines and character in "\n\t":
            return character
        return character.encode("unicode_escape").decode("ascii")

    return _UNSAFE.sub(spell, text)


def to_json(value: object) -> str:
    """Return `value` (records, containers of records, plain values) as one line of JSON."""
    text = json.dumps(_plain(value), ensure_ascii=False)
    # What json leaves as it is but a terminal might obey; such characters stand in strings only.
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return value


def print_json(value: object) -> None:
    """Print one JSON value on its own line."""
    typer.echo(to_json(value))


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that colors on a terminal only and reads no markup in what it prints."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def notice(text: str) -> None:
    """Say something beside the result, on stderr."""
    typer.echo(f"scr: {visible(text)}", err=True)


def print_error(error: ScrError, *, as_json: bool) -> None:
    """Print an error on stderr: a message for a person, or the JSON error object."""
    print_failure(type(error).__name__, str(error), error.exit_code, as_json=as_json)


def print_failure(name: str, message: str, exit_code: int, *, as_json: bool) -> None:
    """Print a failure by its parts; see `print_error`."""
    if as_json:
        body = {"type": name, "message": message, "exit_code": exit_code}
        typer.echo(to_json({"error": body}), err=True)
    else:
        typer.echo(f"scr: {visible(message, lines=True)}", err=True)


def print_change(revision: Revision, *, as_json: bool) -> None:
    """Print what a command changed: the fact's status, id and sentence."""
    if as_json:
        print_json(revision)
        return
    line = Text(f"{revision.status} ", style=_STATUS_STYLE[revision.status])
    line.append(f"{revision.fact.id}  ", style="default")
    line.append(shorten(revision.fact.statement), style="default")
    make_console().print(line, soft_wrap=True)


def print_revisions(revisions: Sequence[Revision], *, as_json: bool, empty: str) -> None:
    """Print one line for each fact, or say `empty` on stderr if there is none."""
    if as_json:
        for revision in revisions:
            print_json(revision)
    elif revisions:
        make_console().print(_facts_table(revisions))
    else:
        notice(empty)


def _facts_table(revisions: Sequence[Revision]) -> Table:
    """One row a fact; columns that would say the usual in every row are left out."""
    facts = [revision.fact for revision in revisions]
    table = make_table()
    table.add_column("Id", no_wrap=True, min_width=max(len(fact.id) for fact in facts))
    table.add_column("Statement", overflow="fold")
    unusual = {
        "Valid": [show_validity(fact.validity, days=True) for fact in facts],
        "Status": ["" if r.status == "approved" else r.status for r in revisions],
        "Kind": ["" if fact.kind == "fact" else fact.kind for fact in facts],
        "Scope": ["" if fact.scope == DEFAULT_SCOPE else fact.scope for fact in facts],
    }
    shown = {name: cells for name, cells in unusual.items() if any(cells)}
    for name in shown:
        table.add_column(name, style="dim", overflow="fold")
    for row, fact in enumerate(facts):
        extras = (Text(cells[row]) for cells in shown.values())
        table.add_row(Text(fact.id, "cyan"), Text(shorten(fact.statement)), *extras)
    return table


def shorten(text: str, limit: int = 200) -> str:
    """The beginning of a text, on one line."""
    return visible(text if len(text) <= limit else text[:limit] + "…")


def make_table(*names: str) -> Table:
    """Return a compact table without lines; `names` are its first columns."""
    return Table(*names, box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)


def show_instant(when: datetime) -> str:
    """A date, with the time to the minute unless it is midnight; always UTC."""
    return f"{when:%Y-%m-%d}" if when.time() == time.min else f"{when:%Y-%m-%d %H:%MZ}"


def show_validity(validity: Validity, *, days: bool = False) -> str:
    """The span; empty where a fact always holds. `days`: in a column, one bare date a line."""
    start, end = (
        "" if when is None else f"{when:%Y-%m-%d}" if days else show_instant(when)
        for when in (validity.start, validity.end)
    )
    between = " –\n" if days and start and end else " – "
    return f"{start}{between}{end}".strip() if start or end else ""


def print_fact(revision: Revision, *, as_json: bool) -> None:
    """Print everything about one fact."""
    if as_json:
        print_json(revision)
        return
    fact = revision.fact
    fields: list[tuple[str, Text | str]] = [
        ("id", fact.id),
        ("status", Text(revision.status, _STATUS_STYLE[revision.status])),
        ("statement", visible(fact.statement, lines=True)),
        *_named(fact, ("subject", "aliases", "relation", "target")),
        ("questions", _column(fact.questions)),
        ("valid", show_validity(fact.validity) or "always"),
        *_named(fact, ("sources", "tags", "supersedes", "note")),
    ]
    fields += [(name, str(getattr(fact, name))) for name in ("scope", "kind", "rank")]
    when = f"{show_instant(revision.at)}, change {revision.sequence}"
    why = f": {visible(revision.why)}" if revision.why else ""
    fields.append(("changed", f"{revision.action} by {visible(revision.by)} on {when}{why}"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields:
        grid.add_row(name, value if isinstance(value, Text) else Text(value))
    make_console().print(grid)


def _named(fact: Fact, names: Iterable[str]) -> list[tuple[str, Text | str]]:
    """Those of the named fields that say something."""
    pairs = [(name, getattr(fact, name)) for name in names]
    return [
        (name, _column(value) if isinstance(value, tuple) else visible(value, lines=True))
        for name, value in pairs
        if value
    ]


def _column(values: Sequence[str]) -> str:
    return "\n".join(visible(value) for value in values)


def print_history(revisions: Sequence[Revision], *, as_json: bool) -> None:
    """Print the revisions of one fact, each with what it changed."""
    if as_json:
        for revision in revisions:
            print_json(revision)
        return
    table = make_table()
    table.add_column("No.", justify="right", no_wrap=True)
    for name in ("When", "Action", "Status"):
        table.add_column(name, no_wrap=True)
    table.add_column("By", overflow="fold")
    table.add_column("What and why", overflow="fold", ratio=1)
    before: Fact | None = None
    for revision in revisions:
        table.add_row(
            str(revision.sequence),
            show_instant(revision.at),
            revision.action,
            Text(revision.status, _STATUS_STYLE[revision.status]),
            Text(visible(revision.by)),
            Text("\n".join(_changed(before, revision))),
        )
        before = revision.fact
    make_console().print(table)


def _changed(before: Fact | None, revision: Revision) -> list[str]:
    fact = revision.fact
    lines = [f"why: {visible(revision.why)}"] if revision.why else []
    if before is None:
        return [shorten(fact.statement), *lines]
    return [*(f"{name}: {new}" for name, _, new in changed_fields(before, fact)), *lines]


def changed_fields(before: Fact, after: Fact) -> list[tuple[str, str, str]]:
    """Return the name, old and new value of each field that differs, as a person reads them."""
    changed = differences(before, after)
    return [(name, _value(old), _value(new)) for name, (old, new) in changed.items()]


def _value(value: object) -> str:
    if isinstance(value, Validity):
        return show_validity(value) or "always"
    if isinstance(value, tuple):
        return shorten("; ".join(value)) or "none"
    return shorten(str(value)) or "none"
