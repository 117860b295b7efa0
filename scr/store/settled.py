"""What packs said that the store holds already, so that a plan need not read it again.

A pack of a hundred thousand lines changes in a few places. It is taken in segments, and those in
blocks of lines, whose ends depend on the lines themselves, so that a new line moves few of them. Of
each that was applied the store keeps a digest, the ids of its facts and the sequence number from
which it held all of them. While none of those facts changed since, it changes nothing.

The digests are no part of the history: without them a plan is the same, and slower.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from scr.store.formats import Pack, read_numbered, read_pack
from scr.store.schema import current, settled

SEGMENT: Final = 262_144
"""Fewest bytes of a segment; a pack of fewer is read whole."""

_ENDS: Final = 16  # one line in so many may end a segment, and ends a block
_ASKED: Final = 500  # digests that are looked up at a time
_FORGET = sa.delete(settled).where(settled.c.segment == sa.bindparam("of"))

Content = Iterable[str | bytes] | bytes | Pack
"""A pack: its lines, the content of its file, or what was read of it."""


class Block(NamedTuple):
    """Some lines of a pack that stand together."""

    first: int
    """Number of the first."""

    lines: Sequence[bytes]

    digest: bytes

    segment: bytes
    """Digest of the segment that it is in."""


class Reading(NamedTuple):
    """A pack as it was read."""

    pack: Pack
    """Of the lines that may change something."""

    held: frozenset[str] = frozenset()
    """Ids of the facts of all other lines."""

    blocks: tuple[Block, ...] = ()
    """Those of segments that may change something; none of a pack that is read whole."""

    segments: frozenset[bytes] = frozenset()
    """Digests of all segments."""

    known: Mapping[bytes, Sequence[str]] = {}
    """Ids of the facts of blocks among them that change nothing, by digest."""


class _Large:
    """A large pack on its way to being read; `known` holds what changes nothing."""

    def __init__(self, connection: sa.Connection, content: bytes) -> None:
        self._connection = connection
        self._segments = [*_segments(content)]
        self._blocks: dict[int, list[Block]] = {}  # by the number of a segment's first line
        digests = [digest for _, _, digest in self._segments]
        self.known = _unchanged(connection, digests)
        self._look_closer()

    def _look_closer(self) -> None:
        """Look up the blocks of the segments that may change something."""
        new = [each for each in self._segments if each[2] not in self.known]
        for first, content, digest in new:
            if first not in self._blocks:
                self._blocks[first] = [*_blocks(first, content, digest)]
                own = [block.digest for block in self._blocks[first]]
                self.known.update(_unchanged(self._connection, own))

    @property
    def rest(self) -> list[Block]:
        """The blocks that are to be read."""
        return [block for block in self.looked_at if block.digest not in self.known]

    @property
    def looked_at(self) -> list[Block]:
        """The blocks of segments that may change something."""
        changed = (first for first, _, digest in self._segments if digest not in self.known)
        return [block for first in changed for block in self._blocks[first]]

    @property
    def held(self) -> list[str]:
        """Ids of the facts of lines that are not read."""
        whole = [self.known[d] for _, _, d in self._segments if d in self.known]
        parts = [self.known[b.digest] for b in self.looked_at if b.digest in self.known]
        return [*chain.from_iterable(whole), *chain.from_iterable(parts)]

    def read(self, names: "set[str | None] | None") -> bool:
        """Have everything read that holds a fact of some names (`None`: everything).

        Returns whether that is more than before.
        """
        touched = [d for d, ids in self.known.items() if names is None or not names.isdisjoint(ids)]
        for digest in touched:
            del self.known[digest]
        self._look_closer()
        again = [d for d, ids in self.known.items() if names is None or not names.isdisjoint(ids)]
        for digest in again:
            del self.known[digest]
        return bool(touched or again)

    def reading(self, pack: Pack) -> Reading:
        """Return what came of it."""
        segments = frozenset(digest for _, _, digest in self._segments)
        blocks = tuple(self.looked_at)
        return Reading(pack, frozenset(self.held), blocks, segments, self.known)


def read_unsettled(connection: sa.Connection, sources: Sequence[Content]) -> list[Reading]:
    """Read of packs what the store does not hold for certain.

    A block is read all the same where something in another depends on it: a line that gives one of
    its facts again, or supersedes it. Where there are lines without id, every block is.
    """
    taken = [
        _Large(connection, source)
        if isinstance(source, bytes) and len(source) >= SEGMENT
        else _whole(source)
        for source in sources
    ]
    large = [each for each in taken if isinstance(each, _Large)]
    ids = [fact_id for each in large for fact_id in each.held]
    if len(set(ids)) < len(ids):
        for each in large:
            each.read(None)
    while True:
        packs = [_read(each.rest) if isinstance(each, _Large) else each for each in taken]
        lines = [line for pack in packs for line in pack.lines]
        names = {name for line in lines for name in (line.fact.id, line.fact.supersedes)}
        asked = names if all(line.named for line in lines) else None
        if not any(each.read(asked) for each in large):
            return [
                each.reading(pack) if isinstance(each, _Large) else Reading(pack)
                for each, pack in zip(taken, packs, strict=True)
            ]


def keep_settled(connection: sa.Connection, readings: Sequence[Reading], sequence: int) -> None:
    """Keep that the store holds the lines of what was read; `sequence` is the latest change's."""
    rows = {row["digest"]: row for each in readings for row in _rows(each, sequence)}
    if not rows:
        return
    named = frozenset[bytes]().union(*(each.segments for each in readings))
    changed = {block.segment for each in readings for block in each.blocks}
    kept = connection.execute(sa.select(settled.c.segment).distinct()).scalars()
    if gone := [{"of": digest} for digest in kept if digest in changed or digest not in named]:
        connection.execute(_FORGET, gone)
    # A block may stand in a segment that is kept as it is.
    known = set(connection.execute(sa.select(settled.c.digest)).scalars())
    if new := [row for digest, row in rows.items() if digest not in known]:
        connection.execute(sa.insert(settled), new)


def forget_settled(connection: sa.Connection) -> None:
    """Keep nothing: what lines mean may have changed."""
    connection.execute(sa.delete(settled))


def _rows(reading: Reading, sequence: int) -> Iterator[dict[str, Any]]:
    """Yield what is to be kept of the segments that were looked at: blocks, and whole ones."""
    by_number = {line.number: line for line in reading.pack.lines} if reading.blocks else {}
    whole: dict[bytes, list[str] | None] = {}
    for block in reading.blocks:
        ids: list[str] | None
        if block.digest in reading.known:
            ids = [*reading.known[block.digest]]
        else:
            own = [by_number.get(block.first + place) for place in range(len(block.lines))]
            lines = [line for line in own if line is not None]
            ids = [line.fact.id for line in lines] if all(line.named for line in lines) else None
        before = whole.setdefault(block.segment, [])
        whole[block.segment] = None if before is None or ids is None else before + ids
        if ids:
            yield _row(block.digest, block.segment, ids, sequence)
    for digest, ids in whole.items():
        if ids:
            yield _row(digest, digest, ids, sequence)


def _row(digest: bytes, segment: bytes, ids: Sequence[str], sequence: int) -> dict[str, Any]:
    return {"digest": digest, "segment": segment, "facts": "\n".join(ids), "sequence": sequence}


def _whole(source: Content) -> Pack:
    if isinstance(source, Pack):
        return source
    return read_pack(source.splitlines(keepends=True) if isinstance(source, bytes) else source)


def _segments(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the segments of a file: the number of the first line, the content, the digest."""
    odd = b"\r" in content  # which may end lines too
    start, first = 0, 1
    while start < len(content):
        end = _end_of_line(content, min(start + SEGMENT, len(content)))
        while end < len(content):
            begin, end = end, _end_of_line(content, end)
            if not zlib.crc32(content[begin:end]) % _ENDS:
                break
        part = content[start:end]
        yield first, part, _digest(part)
        first += len(part.splitlines()) if odd else part.count(b"\n")
        start = end


def _end_of_line(content: bytes, start: int) -> int:
    found = content.find(b"\n", start)
    return len(content) if found < 0 else found + 1


def _blocks(first: int, content: bytes, segment: bytes) -> Iterator[Block]:
    lines = content.splitlines(keepends=True)
    codes = map(zlib.crc32, lines)
    ends = [place for place, code in enumerate(codes, start=1) if not code % _ENDS]
    start = 0
    for end in (*ends, len(lines)):
        if own := lines[start:end]:
            # The digest of a segment's only block must not be that of the segment.
            yield Block(first + start, own, _digest(b"block\n" + b"".join(own)), segment)
        start = end


def _digest(content: bytes) -> bytes:
    return sha256(content).digest()[:16]  # which many processors compute themselves


def _unchanged(connection: sa.Connection, digests: Sequence[bytes]) -> dict[bytes, list[str]]:
    """Return the ids of the facts of what the store holds, by its digest."""
    rows: list[Any] = []
    for start in range(0, len(digests), _ASKED):
        part = digests[start : start + _ASKED]
        rows += connection.execute(sa.select(settled).where(settled.c.digest.in_(part))).all()
    if not rows:
        return {}
    since = min(row.sequence for row in rows)
    later = sa.select(current.c.fact_id, current.c.sequence).where(current.c.sequence > since)
    changed = {row.fact_id: row.sequence for row in connection.execute(later)}
    found = {}
    for row in rows:
        ids = row.facts.split("\n")
        if all(changed[fact_id] <= row.sequence for fact_id in changed.keys() & ids):
            found[row.digest] = ids
    return found


def _read(blocks: Sequence[Block]) -> Pack:
    """Read the lines of blocks, each under its own number."""
    return read_numbered(
        (number, line) for block in blocks for number, line in enumerate(block.lines, block.first)
    )
