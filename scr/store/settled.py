"""What packs said that the store holds already, so that a plan need not read it again.

A pack of a hundred thousand lines changes in a few places. Its lines are taken in blocks whose ends
depend on the lines themselves, so that a new line moves no block but its own. Of each block that
was applied the store keeps a digest, the ids of its facts and the sequence number from which it
held all of them. While none of those facts changed since, the block changes nothing.

The digests are no part of the history: without them a plan is the same, and slower.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from scr.store.formats import Pack, read_numbered, read_pack
from scr.store.schema import current, settled

FEWEST: Final = 1_000
"""Lines from which a pack is worth the trouble."""

_ENDS: Final = 16  # one line in so many ends a block
_FORGET = sa.delete(settled).where(settled.c.digest == sa.bindparam("of"))


class Block(NamedTuple):
    """Some lines of a pack that stand together."""

    first: int
    """Number of the first."""

    lines: Sequence[bytes]

    digest: bytes


class Reading(NamedTuple):
    """A pack as it was read."""

    pack: Pack
    """Of the lines that may change something."""

    held: frozenset[str] = frozenset()
    """Ids of the facts of all other lines."""

    blocks: tuple[Block, ...] = ()
    """Those that may change something; none of a small pack."""

    known: frozenset[bytes] = frozenset()
    """Digests of all others."""


def read_unsettled(
    connection: sa.Connection, sources: Sequence[Iterable[str | bytes] | Pack]
) -> list[Reading]:
    """Read of packs what the store does not hold for certain.

    A block is read all the same where something in another depends on it: a line that gives one of
    its facts again, or supersedes it. Where there are lines without id, every block is.
    """
    small = [_whole(source) for source in sources]
    blocks = [
        [*_blocks(source)] if pack is None and isinstance(source, list) else []
        for source, pack in zip(sources, small, strict=True)
    ]
    known = _unchanged(connection, [*chain.from_iterable(blocks)])
    while True:
        rest = [[block for block in own if block.digest not in known] for own in blocks]
        packs = [pack or _read(own) for pack, own in zip(small, rest, strict=True)]
        lines = [line for pack in packs for line in pack.lines]
        names = {name for line in lines for name in (line.fact.id, line.fact.supersedes)}
        touched = [d for d, ids in known.items() if not names.isdisjoint(ids)]
        if known and not all(line.named for line in lines):
            touched = [*known]
        if not touched:
            return [_reading(pack, own, known) for pack, own in zip(packs, blocks, strict=True)]
        for digest in touched:
            del known[digest]


def keep_settled(connection: sa.Connection, readings: Sequence[Reading], sequence: int) -> None:
    """Keep that the store holds the lines of what was read; `sequence` is the latest change's."""
    rows: list[dict[str, Any]] = []
    for reading in readings:
        by_number = {line.number: line for line in reading.pack.lines} if reading.blocks else {}
        for block in reading.blocks:
            own = [by_number.get(block.first + place) for place in range(len(block.lines))]
            facts = [line.fact.id for line in own if line is not None]
            if facts and all(line is None or line.named for line in own):
                kept = {"digest": block.digest, "facts": "\n".join(facts), "sequence": sequence}
                rows.append(kept)
    if not rows:
        return
    # What no pack says any more need not be kept, nor what is kept anew.
    known = frozenset[bytes]().union(*(reading.known for reading in readings))
    before = connection.execute(sa.select(settled.c.digest)).scalars()
    gone = [{"of": digest} for digest in before if digest not in known]
    if gone:
        connection.execute(_FORGET, gone)
    connection.execute(sa.insert(settled), rows)


def forget_settled(connection: sa.Connection) -> None:
    """Keep nothing: what lines mean may have changed."""
    connection.execute(sa.delete(settled))


def _reading(pack: Pack, blocks: Sequence[Block], known: Mapping[bytes, list[str]]) -> Reading:
    settled_ones = frozenset(block.digest for block in blocks if block.digest in known)
    held = frozenset(chain.from_iterable(known[digest] for digest in settled_ones))
    rest = tuple(block for block in blocks if block.digest not in known)
    return Reading(pack, held, rest, settled_ones)


def _is_large(source: Iterable[str | bytes]) -> bool:
    if not isinstance(source, list) or len(source) < FEWEST:
        return False
    return set(map(type, source)) == {bytes}


def _whole(source: Iterable[str | bytes] | Pack) -> Pack | None:
    """Return the pack of a source that is not read in blocks."""
    if isinstance(source, Pack):
        return source
    return None if _is_large(source) else read_pack(source)


def _blocks(lines: Sequence[bytes]) -> Iterator[Block]:
    codes = map(zlib.crc32, lines)
    ends = [place for place, code in enumerate(codes, start=1) if not code % _ENDS]
    start = 0
    for end in (*ends, len(lines)):
        if own := lines[start:end]:
            yield Block(start + 1, own, blake2b(b"".join(own), digest_size=16).digest())
        start = end


def _unchanged(connection: sa.Connection, blocks: Sequence[Block]) -> dict[bytes, list[str]]:
    """Return the ids of the facts of each block that the store holds, by its digest."""
    wanted = {block.digest for block in blocks}
    rows = [row for row in connection.execute(sa.select(settled)).all() if row.digest in wanted]
    if not rows or len(wanted) < len(blocks):  # a block that comes twice is read
        return {}
    since = min(row.sequence for row in rows)
    later = sa.select(current.c.fact_id, current.c.sequence).where(current.c.sequence > since)
    changed = {row.fact_id: row.sequence for row in connection.execute(later)}
    found = {}
    for row in rows:
        ids = row.facts.split("\n")
        if all(changed[fact_id] <= row.sequence for fact_id in changed.keys() & ids):
            found[row.digest] = ids
    ids = [*chain.from_iterable(found.values())]
    return found if len(set(ids)) == len(ids) else {}


def _read(blocks: Sequence[Block]) -> Pack:
    """Read the lines of blocks, each under its own number."""
    return read_numbered(
        (number, line) for block in blocks for number, line in enumerate(block.lines, block.first)
    )
