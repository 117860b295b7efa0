"""What many commands share: their options, and the store those name."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from scr.cli.render import notice
from scr.errors import InvalidInput
from scr.facts import Instant
from scr.settings import load_settings

if TYPE_CHECKING:
    from scr.engine import SCR

_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)


@dataclass(frozen=True)
class Root:
    """The options given before the command's name."""

    store: Path | None = None
    as_json: bool = False


def _store_or_root(context: typer.Context, store: Path | None) -> Path | None:
    root = context.find_object(Root) or Root()
    return store or root.store


def _json_or_root(context: typer.Context, as_json: bool) -> bool:
    root = context.find_object(Root) or Root()
    return as_json or root.as_json


def parse_when(text: str) -> datetime:
    """Read `2024-03-01` (UTC midnight) or `2024-03-01T09:30Z`; refuse a time without a zone."""
    try:
        return _INSTANT.validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(
            f"{text!r} is no time with a zone: use 2024-03-01 or 2024-03-01T09:30Z"
        ) from error


def parse_store_time(text: str) -> datetime | int:
    """Read a store time: a sequence number, or an instant as `parse_when` reads it."""
    return int(text) if text.isdecimal() else parse_when(text)


StorePath = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="PATH",
        help="The store; otherwise SCR_STORE, or facts.db.",
        callback=_store_or_root,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON; lists are one value a line.",
        callback=_json_or_root,
    ),
]
ValidAt = Annotated[
    datetime | None,
    typer.Option(
        "--valid-at",
        metavar="TIME",
        parser=parse_when,
        help="World time: what held then, such as 2024-03-01.",
    ),
]
AsOf = Annotated[
    Any,  # datetime | int | None, as `parse_store_time` returns: typer takes no union
    typer.Option(
        "--as-of",
        metavar="TIME",
        parser=parse_store_time,
        help="Store time, or a sequence number: what the store said then.",
    ),
]
ScopePath = Annotated[
    str | None,
    typer.Option("--scope", metavar="SCOPE", help="This scope and those above it."),
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the history.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who makes it; otherwise SCR_USER, or you."),
]
FactId = Annotated[
    str, typer.Argument(metavar="ID", help="Id of the fact, as `scr list` prints it.")
]


def open_knowledge(
    store: Path | None, *, create: bool = False, quiet: bool = False, **chosen: object
) -> "SCR":
    """Open the store that options and settings name, together with its engine.

    Args:
        store: the path given on the command line, if any.
        create: make a missing store and say so on stderr.
        quiet: do not say so.
        chosen: settings given on the command line; those that are `None` are not.

    Raises:
        StoreMissing: there is none and `create` is off.
    """
    from scr.engine import SCR  # and with it SQLAlchemy, half of the start-up: not for --help
    from scr.store import Store

    settings = load_settings(store=store, **chosen)
    made = create and not settings.store.exists()
    knowledge = SCR(Store.open(settings.store, create=create), settings)
    if made and not quiet:
        notice(f"made a new store at {settings.store}")
    return knowledge


def check_device(name: str) -> str:
    """Return the name of a device that torch can compute on.

    Raises:
        InvalidInput: it cannot.
    """
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InvalidInput(f"torch cannot compute on {name!r} here: try --device cpu") from error
    return name


FactsFile = Annotated[
    Path, typer.Argument(metavar="FACTS", help="Facts as JSON lines; all are known at once.")
]
"""What a set of queries is asked of."""

QueriesFile = Annotated[
    Path,
    typer.Argument(metavar="QUERIES", help="Queries as JSON lines, with the ids they ask for."),
]
"""The queries of such a set."""
