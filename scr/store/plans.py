"""What packs would change in a store, before anything is changed: facts as code."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from scr.errors import PackInvalid
from scr.facts import Fact, Revision, normalize, scopes_above
from scr.records import Record
from scr.store import packs
from scr.store.formats import Pack
from scr.store.relations import Relation
from scr.store.transaction import Transaction

Kind = Literal["add", "change", "retire"]


class Source(NamedTuple):
    """A pack."""

    name: str
    """What to call it in messages."""

    lines: Iterable[str | bytes] | bytes | Pack
    """Its lines, or the content of its file: of a large one only what may change something is read;
    or what was read of a file in another format."""


class Change(Record):
    """What becomes of one fact."""

    kind: Kind
    before: Fact | None
    """As it is now; `None` for a new one."""

    after: Fact
    """As it will be; for a retired one as it is."""

    status: str
    """Its status afterwards: in a store for review it waits for approval."""


class Declaration(Record):
    """What becomes of what is declared of one relation."""

    kind: Kind
    before: Relation | None
    """As it is now; `None` for a new one."""

    after: Relation | None
    """As it will be; `None` where nothing is declared of it any more."""


class Plan(Record):
    """What packs change, in the order in which it happens."""

    changes: tuple[Change, ...]
    declarations: tuple[Declaration, ...] = ()

    def count(self, kind: Kind) -> int:
        """Return how many changes there are of a kind."""
        kinds = [*(d.kind for d in self.declarations), *(c.kind for c in self.changes)]
        return kinds.count(kind)

    def __str__(self) -> str:
        """Say how many changes there are."""
        total = len(self.changes) + len(self.declarations)
        if not total:
            return "no changes"
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
    declared: Sequence[Relation] | None,
    keep: bool,
) -> Plan:
    """Bring a store to what packs say, and return what that changed.

    Args:
        transaction: takes the changes; the caller keeps them or takes them back.
        sources: all the packs; they may refer to each other.
        before: returns a fact as it was before the transaction.
        prune: scope whose approved facts, and those of the scopes below, are retired where no pack
            holds them; `None` retires none.
        approved: the approved facts before the transaction.
        declared: all that is to be declared of relations; `None` leaves that as it is.
        keep: keep what a later plan need not read again.

    Raises:
        PackInvalid: naming each line that cannot be used.
        FactConflict: what is declared leaves two approved facts that contradict each other.
    """
    declarations: list[Declaration] = []
    if declared is not None:
        declarations = _declarations(transaction.relations.declared, declared)
    if declared is not None and declarations:
        transaction.declare(declared)
    readings = transaction.read_unsettled([source.lines for source in sources])
    read = [(source.name, each.pack) for source, each in zip(sources, readings, strict=True)]
    for name, pack in read:
        if pack.problems:
            raise PackInvalid(name, pack.problems)
    held = packs.import_packs(transaction, read).union(*(each.held for each in readings))
    if prune is not None:
        for revision in approved:
            fact = revision.fact
            if fact.id not in held and prune in scopes_above(fact.scope):
                transaction.retire(fact.id)
    if declarations:
        transaction.settle()
    if keep:
        transaction.keep_settled(readings)
    changes = _changes(transaction.written, before)
    return Plan(changes=changes, declarations=tuple(declarations))


def _changes(
    written: Sequence[Revision], before: Callable[[str], Fact | None]
) -> tuple[Change, ...]:
    """Return what revisions made of each fact."""
    last: dict[str, Revision] = {}
    for revision in written:
        last[revision.fact.id] = revision
    changes = []
    for revision in last.values():
        was = before(revision.fact.id)
        kind: Kind = "add" if was is None else "change"
        if revision.status == "retired":
            kind = "retire"
        changes.append(Change(kind=kind, before=was, after=revision.fact, status=revision.status))
    return tuple(changes)


def _declarations(before: Sequence[Relation], after: Sequence[Relation]) -> list[Declaration]:
    """Return what differs between two sets of declarations, sorted by name."""
    was = {normalize(each.name): each for each in before}
    will = {normalize(each.name): each for each in after}
    made = []
    for name in sorted({*was, *will}):
        old, new = was.get(name), will.get(name)
        if old != new:
            kind: Kind = "add" if old is None else "retire" if new is None else "change"
            made.append(Declaration(kind=kind, before=old, after=new))
    return made
