"""Facts in text and out again: packs as JSON lines, YAML, and what all formats share.

`knowledge/README.md` describes the formats. Reading never raises for what a file holds: lines that
hold no fact are named with what is wrong with them.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from scr.errors import InvalidInput, PackInvalid
from scr.facts import Fact, explain

PackFormat = Literal["jsonl", "yaml", "csv"]
Fields = dict[str, Any]
"""A fact as a file gives it: fields by name."""

_ENDS = re.compile(r"[\n\r\x85\u2028\u2029]")  # a reader may take them for blanks
_BREAKS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


class Line(NamedTuple):
    """A line of a pack that holds a fact."""

    number: int
    """Its place in the file, from 1."""

    fact: Fact
    """What it says."""

    @property
    def named(self) -> bool:
        """Whether the line gives an id."""
        return "id" in self.fact.model_fields_set


class Pack(NamedTuple):
    """A pack as it was read, before any of it is applied."""

    lines: list[Line]
    """Its facts."""

    problems: list[tuple[int, str]]
    """Number and fault of the lines that hold none."""


def collect(
    rows: Iterable[tuple[int, object]], read: Callable[[Any], Fields | None] = lambda row: row
) -> Pack:
    """Make a pack of rows.

    Args:
        rows: the number of each and what it holds.
        read: makes fields of it, or nothing; raises `ValueError` where it cannot.
    """
    pack, first_with = Pack([], []), dict[str, int]()
    for number, row in rows:
        try:
            if (fields := read(row)) is None:
                continue
            line = Line(number, Fact.model_validate(fields))
            if line.named and (first := first_with.setdefault(line.fact.id, number)) != number:
                raise ValueError(f"gives fact {line.fact.id}, as line {first} does already")
        except ValidationError as error:
            pack.problems.append((number, explain(error)))
        except (ValueError, InvalidInput) as error:
            pack.problems.append((number, str(error)))
        else:
            pack.lines.append(line)
    return pack


def read_pack(lines: Iterable[str | bytes]) -> Pack:
    """Read JSON lines. Blank lines and lines that begin with `#` are skipped; never raises."""
    return read_numbered(enumerate(lines, start=1))


def read_numbered(lines: Iterable[tuple[int, str | bytes]]) -> Pack:
    """Read JSON lines that have numbers of their own; see `read_pack`."""
    return collect(lines, _read_line)


def read_yaml(content: bytes) -> Pack:
    """Read a list of facts in YAML; their numbers are their places in the list. Never raises."""
    try:
        facts = yaml_list(content, "")
    except PackInvalid as error:
        return Pack([], list(error.problems))
    return collect(enumerate(facts, start=1), _plain)


def exported(facts: Sequence[Fact]) -> Iterator[Fields]:
    """Yield the fields of `facts` as a pack holds them, sorted by id."""
    ids, superseded = {fact.id for fact in facts}, {fact.supersedes for fact in facts}
    for fact in sorted(facts, key=lambda fact: fact.id):
        fields = {"id": fact.id, **fact.model_dump(mode="json", exclude_defaults=True)}
        if fact.supersedes not in ids:  # retired, say: a pack stands for itself
            fields.pop("supersedes", None)
        if fact.id in superseded:  # its end is final, even where it is open
            fields["validity"] = fact.validity.model_dump(mode="json")
        yield fields


def write_pack(facts: Sequence[Fact]) -> Iterator[str]:
    """Yield facts as JSON lines, without line ends; the same facts give the same bytes."""
    for fields in exported(facts):
        text = json.dumps(fields, ensure_ascii=False)
        for mark, escape in _BREAKS.items():  # which some readers take for the end of a line
            text = text.replace(mark, escape)
        yield text


def write_yaml(facts: Sequence[Fact]) -> Iterator[str]:
    """Yield facts as parts of a YAML list, without line ends; the same facts, the same bytes."""
    if not facts:
        yield "[]"
    for fields in exported(facts):
        yield to_yaml([fields]).removesuffix("\n")


def to_yaml(values: Sequence[Fields]) -> str:
    """Return a list as YAML, with a key a line and no line broken."""
    import yaml

    return yaml.dump(
        list(values),
        Dumper=_dumper(),
        allow_unicode=True,
        sort_keys=False,
        default_flow_style=False,
        width=float("inf"),
    )


def yaml_list(content: bytes, name: str) -> list[Any]:
    """Read a list in YAML.

    Raises:
        PackInvalid: it is no YAML, or no list.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        values = yaml.load(content, Loader=loader)  # noqa: S506 - a safe one, in C where there is
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise PackInvalid(name, [(1, f"is no YAML: {reason}")]) from error
    if values is None:
        return []
    if not isinstance(values, list):
        raise PackInvalid(name, [(1, "is no list: begin each entry with `- `")])
    return values


def _dumper() -> type[Any]:
    """Return a writer of YAML that spells out line ends, and repeats what it wrote before."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    def quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = '"' if _ENDS.search(text) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Plain.add_representer(str, quoted)
    return Plain


def _plain(fields: object) -> Fields:
    """Return what YAML made of a fact, dates as text: JSON knows no others."""
    if not isinstance(fields, dict):
        raise ValueError("is no fact: write its fields as `name: value`")
    if unnamed := [key for key in fields if not isinstance(key, str)]:
        raise ValueError(f"gives {unnamed[0]!r} as the name of a field: put it in quotes")
    plain = {key: _without_dates(value) for key, value in fields.items()}
    made: Fields = json.loads(json.dumps(plain, default=str))  # lists only, as from other files
    return made


def _without_dates(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _without_dates(part) for key, part in value.items()}
    return [_without_dates(part) for part in value] if isinstance(value, list) else value


def _read_line(raw: str | bytes) -> Fields | None:
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
    except UnicodeDecodeError as error:
        raise ValueError(f"is no UTF-8 text: {error.reason} at byte {error.start}") from error
    text = text.removeprefix("\ufeff").strip()
    if not text or text.startswith("#"):
        return None
    try:
        fields = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    if not isinstance(fields, dict):
        raise ValueError("is no JSON object: write one fact as {…} on each line")
    return fields


def _without_repeats(pairs: list[tuple[str, Any]]) -> Fields:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"gives {repeated!r} twice")
    return fields
