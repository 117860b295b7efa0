r"""Facts as tables: CSV with a header that names the fields of a fact.

`start` and `end` stand for the validity. The members of a list are separated by `|`; a `|` in one
of them is written `\|`, and a `\` is written `\\`. A blank cell gives nothing; `open` as a start
or an end says that there is none.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from scr.facts import STATEMENT_LIMIT, Fact
from scr.store.formats import Fields, Pack, collect, exported

LISTS: Final = frozenset(
    ("aliases", "questions", "sources", "tags", "must_fire", "must_not_fire"),
)
COLUMNS: Final = tuple(
    column
    for name in Fact.model_fields
    for column in (("start", "end") if name == "validity" else (name,))
)
OPEN: Final = "open"
_SEPARATORS: Final = ",;\t"
_LONGEST_CELL: Final = 2 * STATEMENT_LIMIT


def read_csv(content: bytes) -> Pack:
    """Read a table of facts, separated by commas, semicolons or tabs. Never raises."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        return Pack([], [(number, f"is no UTF-8 text: {error.reason}; save it as UTF-8")])
    rows: list[tuple[int, list[str]]] = []
    broken: list[tuple[int, str]] = []
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
        begins = 1
        try:
            for row in reader:
                rows.append((begins, row))
                begins = reader.line_num + 1
        except csv.Error as error:
            broken.append((begins, f"cannot be read, nor can what follows it: {error}"))
    finally:
        csv.field_size_limit(before)
    full = [(number, row) for number, row in rows if any(cell.strip() for cell in row)]
    if not full:
        return Pack([], broken)
    (number, first), *others = full
    header = [name.strip().lower() for name in first]
    if problem := _fault(header):
        return Pack([], [(number, problem)])
    pack = collect(others, lambda row: _fields(header, row))
    pack.problems.extend(broken)
    return pack


def write_csv(facts: Sequence[Fact]) -> Iterator[str]:
    """Yield facts as the rows of a table, without line ends, after its header.

    Columns that would be blank throughout are left out. The same facts give the same bytes.
    """
    rows = [_row(fields) for fields in exported(facts)]
    columns = [name for name in COLUMNS if name == "id" or any(row.get(name) for row in rows)]
    yield _joined(columns)
    for row in rows:
        yield _joined([row.get(name, "") for name in columns])


def split_list(cell: str) -> list[str]:
    """Return the members of a list in a cell; blank ones are left out."""
    members = [""]
    for part in re.findall(r"\\.|\\$|\||[^\\|]+", cell, re.DOTALL):
        if part == "|":
            members.append("")
        else:
            members[-1] += part[1:] if part in ("\\|", "\\\\") else part
    return [member for member in members if member.strip()]


def join_list(members: Sequence[str]) -> str:
    """Return the cell that `split_list` takes apart again."""
    return "|".join(each.replace("\\", "\\\\").replace("|", "\\|") for each in members)


def _separator(text: str) -> str:
    """Return what separates the cells of the header: what makes the most known names of it."""
    header = text.lstrip().partition("\n")[0]

    def known(separator: str) -> int:
        names = (name.strip().strip('"').strip().lower() for name in header.split(separator))
        return sum(name in COLUMNS for name in names)

    return max(_SEPARATORS, key=known)


def _fault(header: Sequence[str]) -> str:
    """Return what is wrong with a header; nothing if it will do."""
    if unknown := [name for name in header if name not in COLUMNS]:
        return f"the header names {unknown[0]!r}, which is no field: use {', '.join(COLUMNS)}"
    if len(set(header)) < len(header):
        repeated = next(name for name in header if header.count(name) > 1)
        return f"the header names {repeated!r} twice"
    return ""


def _fields(header: Sequence[str], row: Sequence[str]) -> Fields:
    if len(row) != len(header):
        raise ValueError(f"has {len(row)} cells, but the header {len(header)}")
    given = {name: cell for name, cell in zip(header, row, strict=True) if cell.strip()}
    fields: Fields = {
        name: split_list(cell) if name in LISTS else cell for name, cell in given.items()
    }
    span = {name: fields.pop(name).strip() for name in ("start", "end") if name in fields}
    if span:
        fields["validity"] = {n: None if at.lower() == OPEN else at for n, at in span.items()}
    for name in ("id", "kind", "scope", "rank", "supersedes"):
        if name in fields:
            fields[name] = fields[name].strip()
    return fields


def _row(fields: Fields) -> dict[str, str]:
    span: dict[str, Any] = fields.pop("validity", {})
    row = {n: join_list(v) if n in LISTS else str(v) for n, v in fields.items()}
    return {**row, **{name: at or OPEN for name, at in span.items()}}


def _joined(cells: Sequence[str]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerow(cells)  # so that cells with either are quoted
    return out.getvalue().removesuffix("\r\n")
