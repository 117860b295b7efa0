"""Fact packs on their way into a store. `knowledge/README.md` describes what they mean.

A line means a stored fact if it names its id. Without id it means the fact that has its slot,
start and target, or the successor of the fact it supersedes; where there is no slot, the fact
that once had its very content. A line that means no stored fact adds one.
"""

from collections.abc import Callable, Sequence
from functools import partial

from scr.errors import InvalidInput, PackInvalid, ScrError
from scr.facts import Fact, Revision, Validity
from scr.records import Record
from scr.store.formats import Line, Pack
from scr.store.transaction import Transaction


class ImportReport(Record):
    """What an import did, in numbers of lines."""

    added: int
    """Lines that became new facts."""

    revised: int
    """Lines that changed a fact."""

    unchanged: int
    """Lines that the store already held."""

    failed: int
    """Lines that could not be used."""

    problems: tuple[tuple[int, str], ...] = ()
    """For each of those its number, from 1, and what is wrong with it."""


def import_pack(
    transaction: Transaction, pack: Pack, *, name: str, keep_going: bool
) -> ImportReport:
    """Apply a pack; see `Store.import_pack`."""
    work = _Import(transaction)
    work.apply(pack.lines)
    problems = tuple(sorted(pack.problems + work.problems))
    if problems and not keep_going:
        raise PackInvalid(name, problems)
    return ImportReport(
        added=work.added,
        revised=work.revised,
        unchanged=work.unchanged,
        failed=len(problems),
        problems=problems,
    )


def import_packs(transaction: Transaction, read: Sequence[tuple[str, Pack]]) -> set[str]:
    """Apply packs that were read without problems, as one; they may refer to each other.

    Args:
        transaction: takes the changes.
        read: the name and the content of each.

    Returns:
        The ids of the facts that they hold.

    Raises:
        PackInvalid: naming the lines of the first pack that has any that cannot be used.
    """
    work = _Import(transaction)
    placed: dict[int, tuple[str, int]] = {}
    lines = []
    for name, pack in read:
        for line in pack.lines:
            number = len(placed) + 1  # of all packs together
            placed[number] = (name, line.number)
            lines.append(line._replace(number=number))
    _require_once(lines, placed)
    work.apply(lines)
    if work.problems:
        name, _ = placed[work.problems[0][0]]
        own = [(placed[n][1], why) for n, why in work.problems if placed[n][0] == name]
        raise PackInvalid(name, sorted(own))
    return work.held


def _require_once(lines: Sequence[Line], placed: dict[int, tuple[str, int]]) -> None:
    """Refuse two packs that give one id."""
    seen: dict[str, int] = {}
    for line in lines:
        if line.named and (first := seen.setdefault(line.fact.id, line.number)) != line.number:
            (name, number), (other, where) = placed[line.number], placed[first]
            reason = f"gives fact {line.fact.id}, as line {where} of {other} does already"
            raise PackInvalid(name, [(number, reason)])


class _Import:
    """One pack on its way into a transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._meant: dict[str, Line] = {}  # by id of the stored fact
        self.problems: list[tuple[int, str]] = []
        self.added = self.revised = self.unchanged = 0

    @property
    def held(self) -> set[str]:
        """Ids of the stored facts that the lines mean."""
        return set(self._meant)

    def apply(self, lines: Sequence[Line]) -> None:
        """Apply every line that can be; note what refuses the others."""
        named = {line.fact.id: line for line in lines if line.named}
        # What changes a stored fact comes first: it may make room for what is new.
        new = [line for line in lines if not self._dealt_with(line, self._update)]
        for line in _after_superseded(new):
            superseded = named.get(line.fact.supersedes or "")
            settled = superseded is not None and self._is_settled(superseded.fact, line.fact)
            self._dealt_with(line, partial(self._update_or_add, settled=settled))

    def _dealt_with(self, line: Line, step: Callable[[Line], bool]) -> bool:
        try:
            return step(line)
        except ScrError as error:
            self.problems.append((line.number, str(error)))
            return True

    def _update_or_add(self, line: Line, *, settled: bool) -> bool:
        if not self._update(line):  # an earlier line may have added what this one means
            added = self._transaction.add(line.fact, settled=settled)
            self._meant[added.fact.id] = line
            self.added += 1
        return True

    def _update(self, line: Line) -> bool:
        """Bring the fact that the line means up to date; `False` if there is none."""
        given = self._transaction.relations.with_questions(line.fact)
        if line.named and (held := self._transaction.is_held(given)) is not False:
            if held:
                self._meant.setdefault(given.id, line)
                self.unchanged += 1
            return bool(held)
        if (stored := self._find(line)) is None:
            return False
        wanted = self._wanted(given, stored.fact)
        other = self._meant.setdefault(stored.fact.id, line)
        if wanted == stored.fact:
            self.unchanged += 1
            return True
        if other is not line:
            raise InvalidInput(
                f"means fact {stored.fact.id}, as line {other.number} does, but differs from it"
            )
        self._transaction.revise(stored.fact.id, wanted.model_dump())
        self.revised += 1
        return True

    def _find(self, line: Line) -> Revision | None:
        fact = line.fact
        if line.named:
            return self._transaction.find(fact.id)
        if fact.slot is None:
            return self._transaction.of_content(fact.content_hash)
        alike = [
            found
            for found in self._transaction.in_slot(fact)
            if found.fact.target == fact.target and _starts_alike(fact, found.fact)
        ]
        # A retired fact is meant only where nothing in use is.
        return max(
            alike,
            key=lambda found: (found.status != "retired", found.fact.rank == fact.rank),
            default=None,
        )

    def _wanted(self, given: Fact, stored: Fact) -> Fact:
        """Return `stored` as the line wants it.

        What superseding filled in stays unless the line says otherwise: the start of the
        successor, the end of the fact that it replaced.
        """
        start, end, closed = given.validity.start, given.validity.end, stored.validity.end
        if start is None and given.supersedes:
            start = stored.validity.start
        later = closed is not None and (end is None or end > closed)
        if closed and later and self._transaction.was_closed(stored.id, closed):
            end = closed
        if start and end and start >= end:
            raise InvalidInput(f"holds from {start}, but fact {stored.id} was replaced at {end}")
        return given.model_copy(
            update={
                "id": stored.id,
                "supersedes": given.supersedes or stored.supersedes,
                "validity": Validity(start=start, end=end),
            }
        )

    def _is_settled(self, superseded: Fact, successor: Fact) -> bool:
        """Whether a line states its end, so that its successor need not set it."""
        stated = "end" in superseded.validity.model_fields_set
        return stated and not self._transaction.relations.contradict(superseded, successor)


def _after_superseded(lines: Sequence[Line]) -> list[Line]:
    """Return `lines` in their order, but each after the line that it supersedes."""
    waiting = {line.fact.id: line for line in lines}
    ordered: list[Line] = []
    for line in lines:
        chain, step = [], line.fact.id
        while step in waiting:
            chain.append(waiting.pop(step))
            step = chain[-1].fact.supersedes or ""
        ordered += reversed(chain)
    return ordered


def _starts_alike(given: Fact, stored: Fact) -> bool:
    start = given.validity.start
    if given.supersedes:
        return stored.supersedes == given.supersedes and start in (None, stored.validity.start)
    return stored.validity.start == start
