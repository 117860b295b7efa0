"""All revisions that hold some words, as numbers: for the catalog, which knows the rest."""

from typing import NamedTuple

import sqlalchemy as sa

from scr.store.search import _expression

# As one text: a row each would take four times as long where a hundred thousand are found.
_ALL = sa.text("SELECT group_concat(rowid) FROM words WHERE words MATCH :expression")
_BEST = sa.text(
    "SELECT rowid FROM words WHERE words MATCH :expression "
    "ORDER BY bm25(words, 8.0, 4.0, 4.0, 2.0, 1.0), rowid"
)


class Found(NamedTuple):
    """Revisions that hold every word of a text."""

    sequences: list[int]
    ranked: bool
    """Whether the best come first."""


def sequences(connection: sa.Connection, text: str, *, ranked: int) -> Found:
    """Return the numbers of all revisions that hold every word of `text`, old ones too.

    The last letters of a word may be missing. Up to `ranked` finds come best first; where there
    are more, telling the best apart would take longer than it is worth. No word, no finds.
    """
    expression = _expression(text)
    if not expression:
        return Found([], ranked=True)
    known = {"expression": expression}
    joined = connection.execute(_ALL, known).scalar_one()
    found = [int(number) for number in joined.split(",")] if joined else []
    if len(found) > ranked:
        return Found(found, ranked=False)
    return Found(list(connection.execute(_BEST, known).scalars()), ranked=True)
