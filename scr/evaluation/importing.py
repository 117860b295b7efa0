"""Facts from files of any format that SCR knows, told apart by name and content."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from scr.errors import InvalidInput
from scr.evaluation.benchmarks.reading import fact_of, reader_of
from scr.store import Pack, collect, read_csv, read_pack, read_yaml
from scr.store.wikidata import is_entity, load_json, read_entities

_TABLES = (".csv", ".tsv")
_YAML = (".yaml", ".yml")


def read_facts(
    content: bytes, name: str, *, labels: Mapping[str, str] | None = None, language: str = "en"
) -> Pack:
    """Read the facts of a file: JSON lines, YAML, CSV, Wikidata's entities, or an edit set.

    Which of them it is, is seen from the ending of its name, and for JSON from what is in it: facts
    (a list, or one a line), entity documents of Wikidata, or records in the fields of CounterFact
    or zsRE.

    Args:
        content: the file.
        name: its name.
        labels: what Wikidata's properties and entities are called, by id (`P36`, `Q90`); one that
            is not there is called by its label in the file, or by its id.
        language: of Wikidata's labels and aliases.

    Returns:
        The facts, and for each line (in YAML, JSON lists and sets: each place in the list) that
        holds none its number and what is wrong with it. Never raises for what a file holds.
    """
    lower, labels = name.lower(), labels or {}
    if lower.endswith(_TABLES):
        return read_csv(content)
    if lower.endswith(_YAML):
        return read_yaml(content)
    begin = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if begin == b"[" or (begin == b"{" and lower.endswith(".json")):
        return _read_json(content, labels, language)
    lines = content.splitlines(keepends=True)
    told = _parsed(_first(content))
    if begin == b"{" and told is None:
        return _read_json(content, labels, language)  # one value over several lines
    if told is None or holds_facts(content):
        return read_pack(lines)
    return _read_values(_values_of(lines), labels, language)


def holds_facts(content: bytes) -> bool:
    """Whether a file is JSON lines that hold facts, as seen from the first."""
    told = _parsed(_first(content))
    return isinstance(told, dict) and not is_entity(told) and reader_of(told) is None


def _first(content: bytes) -> bytes:
    """Return the first line that is neither blank nor a comment."""
    lines = io.BytesIO(content)
    return next((line for line in lines if line.strip() and not line.startswith(b"#")), b"")


def read_labels(content: bytes, name: str) -> dict[str, str]:
    """Read what Wikidata's properties and entities are called: an object `{"P36": "capital"}`.

    Raises:
        InvalidInput: it is no such object.
    """
    try:
        labels = load_json(content.decode("utf-8-sig"))
    except ValueError as error:
        raise InvalidInput(f"{name} holds no JSON: {error}") from error
    if not isinstance(labels, dict) or not all(isinstance(v, str) for v in labels.values()):
        raise InvalidInput(f'{name} holds no labels: write {{"P36": "capital", …}}')
    return labels


def _parsed(line: bytes) -> Any:
    """Return what a line of JSON holds; `None` if it is none."""
    try:
        return load_json(line.decode("utf-8-sig").strip().rstrip(","))
    except ValueError:
        return None


def _read_json(content: bytes, labels: Mapping[str, str], language: str) -> Pack:
    """Read a file that is one value of JSON: a list, or a single object."""
    try:
        value = load_json(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        return Pack([], [(number, f"is no UTF-8 text: {error.reason}")])
    except json.JSONDecodeError as error:
        return Pack([], [(error.lineno, f"is no JSON: {error.msg} at column {error.colno}")])
    except ValueError as error:
        return Pack([], [(1, str(error))])
    values = value if isinstance(value, list) else [value]
    return _read_values(iter(enumerate(values, start=1)), labels, language)


def _values_of(lines: list[bytes]) -> Iterator[tuple[int, Any]]:
    """Yield the values of JSON lines with their numbers; what is no JSON as the error it gives."""
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith(b"#"):
            try:
                yield number, load_json(line.decode("utf-8-sig").strip().rstrip(","))
            except ValueError as error:
                yield number, error


def _read_values(
    values: Iterator[tuple[int, Any]], labels: Mapping[str, str], language: str
) -> Pack:
    """Make a pack of values, each of which may be an entity, a record of a set, or a fact."""
    entities: list[tuple[int, Any]] = []
    others: list[tuple[int, Any]] = []
    for number, value in values:
        (entities if is_entity(value) else others).append((number, value))
    pack = collect(others, lambda value: _fields(value, labels))
    if entities:
        read = read_entities(iter(entities), labels, language)
        pack.lines.extend(read.lines)
        pack.problems.extend(read.problems)
    pack.lines.sort(key=lambda line: line.number)
    pack.problems.sort()
    return pack


def _fields(value: object, labels: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(value, ValueError):
        raise ValueError(f"is no JSON: {value}")
    if not isinstance(value, dict):
        raise ValueError("is no fact: write it as a JSON object {…}")
    if read := reader_of(value):
        fact = fact_of(read(value, "record"), labels)
        return fact.model_dump(exclude_defaults=True, exclude={"id"})
    return value
