"""Full-text search over facts: SQLite's FTS5, one row of words for each revision.

The words are folded by `normalize` on both sides; the index keeps the words only, not the text.
"""

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from scr.facts import Fact, Revision, normalize

RANKED = 10_000
"""Of so many revisions the best matches are found; of more, any."""

NOTHING = '""'
"""An expression that no row matches."""

_MOST_WORDS = 32  # of a search; a longer one is cut there
_LONGEST_WORD = 100

_INSERT = sa.text(
    "INSERT INTO words (rowid, names, relation, target, statement, questions) "
    "VALUES (:sequence, :names, :relation, :target, :statement, :questions)"
)
_DELETE = sa.text(
    "INSERT INTO words (words, rowid, names, relation, target, statement, questions) "
    "VALUES ('delete', :sequence, :names, :relation, :target, :statement, :questions)"
)
# A word in a name says more than one in a derived question.
DISTANCE: sa.ColumnElement[float] = sa.literal_column("bm25(words, 8.0, 4.0, 4.0, 2.0, 1.0)")
"""How badly a row of `words` matches what was sought; smaller is better."""

_WORDS = sa.table("words", sa.column("rowid"))

PLACE: sa.ColumnElement[int] = _WORDS.c.rowid
"""The sequence number of a row of `words`."""


def index_words(connection: sa.Connection, revisions: Sequence[Revision]) -> None:
    """Add the words of new revisions to the index."""
    if revisions:
        connection.execute(_INSERT, [_words(r.sequence, r.fact) for r in revisions])


def forget_words(connection: sa.Connection, revisions: Sequence[Revision]) -> None:
    """Take the words of revisions out of the index; they must be those that were put in."""
    if revisions:
        connection.execute(_DELETE, [_words(r.sequence, r.fact) for r in revisions])
        # Until its parts are merged, the index keeps what was deleted, marked as such.
        connection.execute(sa.text("INSERT INTO words (words) VALUES ('optimize')"))


def clear_words(connection: sa.Connection) -> None:
    """Take all words out of the index."""
    connection.execute(sa.text("INSERT INTO words (words) VALUES ('delete-all')"))


def too_many(connection: sa.Connection, text: str) -> bool:
    """Whether more revisions hold the words of `text` than can be ranked in a moment."""
    found = sa.select(_WORDS.c.rowid).select_from(_WORDS)
    found = found.where(sa.literal_column("words").op("MATCH")(_expression(text) or NOTHING))
    counted = sa.select(sa.func.count()).select_from(found.limit(RANKED + 1).subquery())
    return int(connection.execute(counted).scalar_one()) > RANKED


def matching(
    select: "sa.Select[Any]", sequence: "sa.ColumnElement[int]", text: str
) -> "sa.Select[Any]":
    """Narrow `select` to revisions that hold every word of `text`, to none if it has no word.

    The last letters of a word may be missing. It may be ordered by `DISTANCE`.
    """
    expression = _expression(text) or NOTHING
    joined = select.join(_WORDS, _WORDS.c.rowid == sequence)
    return joined.where(sa.literal_column("words").op("MATCH")(expression))


def _words(sequence: int, fact: Fact) -> dict[str, object]:
    return {
        "sequence": sequence,
        "names": normalize("\n".join(fact.names)),
        "relation": normalize(fact.relation),
        "target": normalize(fact.target),
        "statement": normalize(fact.statement),
        "questions": normalize("\n".join(fact.questions)),
    }


def _expression(text: str) -> str:
    """Return `text` as an FTS5 query; quoted, so that nothing in it is an operator."""
    legible = text[: _MOST_WORDS * _LONGEST_WORD].encode("utf-8", "ignore").decode()
    words = normalize(legible.replace("\x00", " ").replace('"', " ")).split()
    spoken = [word for word in dict.fromkeys(words) if re.search(r"[^\W_]", word)]
    return " AND ".join(f'"{word}"*' for word in spoken[:_MOST_WORDS])
