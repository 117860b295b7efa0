"""What packs would change in a store, before anything is changed: facts as code."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from scr.errors import PackInvalid
from scr.facts import Fact, Revision, scopes_above
from scr.records import Record
from scr.store import packs
from scr.store.transaction import Transaction

Kind = Literal["add", "change", "retire"]


class Source(NamedTuple):
    """A pack."""

    name: str
    """What to call it in messages."""

    lines: Iterable[str | bytes]


class Change(Record):
    """What becomes of one fact."""

    kind: Kind
    before: Fact | None
    """As it is now; `None` for a new one."""

    after: Fact
    """As it will be; for a retired one as it is."""

    status: str
    """Its status afterwards: in a store for review it waits for approval."""


class Plan(Record):
    """What packs change, in the order in which it happens."""

    changes: tuple[Change, ...]

    def count(self, kind: Kind) -> int:
        """Return how many changes there are of a kind."""
        return sum(change.kind == kind for change in self.changes)

    def __str__(self) -> str:
        """Say how many changes there are."""
        if not self.changes:
            return "no changes"
        total = len(self.changes)
        parts = [(self.count("add"), "to add"), (self.count("change"), "to change")]
        parts.append((self.count("retire"), "to retire"))
        counted = ", ".join(f"{count} {what}" for count, what in parts if count)
        return f"{total} change{'s' if total > 1 else ''}: {counted}"


def carry_out(
    transaction: Transaction,
    sources: Sequence[Source],
    *,
    before: Callable[[str], Fact | None],
    prune: str | None,
    approved: Iterable[Revision],
) -> Plan:
    """Bring a store to what packs say, and return what that changed.

    Args:
        transaction: takes the changes; the caller keeps them or takes them back.
        sources: all the packs; they may refer to each other.
        before: returns a fact as it was before the transaction.
        prune: scope whose approved facts, and those of the scopes below, are retired where no pack
            holds them; `None` retires none.
        approved: the approved facts before the transaction.

    Raises:
        PackInvalid: naming each line that cannot be used.
    """
    read = [(source.name, packs.read_pack(source.lines)) for source in sources]
    for name, pack in read:
        if pack.problems:
            raise PackInvalid(name, pack.problems)
    held = packs.import_packs(transaction, read)
    if prune is not None:
        for revision in approved:
            fact = revision.fact
            if fact.id not in held and prune in scopes_above(fact.scope):
                transaction.retire(fact.id)
    last: dict[str, Revision] = {}
    for revision in transaction.written:
        last[revision.fact.id] = revision
    changes = []
    for revision in last.values():
        was = before(revision.fact.id)
        kind: Kind = "add" if was is None else "change"
        if revision.status == "retired":
            kind = "retire"
        changes.append(Change(kind=kind, before=was, after=revision.fact, status=revision.status))
    return Plan(changes=tuple(changes))
