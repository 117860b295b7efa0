"""The changes of one transaction: what may follow what, and what conflicts.

Every check of a change comes before its first write, so a refused change leaves nothing behind
and the transaction may go on with the next.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from pydantic import ValidationError

from scr.errors import (
    FactConflict,
    FactNotFound,
    InvalidInput,
    OwnProposal,
    TransitionRefused,
    UndeclaredRelation,
)
from scr.facts import (
    Action,
    Fact,
    Revision,
    Slot,
    Status,
    Validity,
    differences,
    explain,
    make_fact,
    normalize,
)
from scr.store import settled
from scr.store.policy import Policy, crowded_slots, write_declared
from scr.store.relations import Relation, Relations
from scr.store.schema import (
    LISTED,
    MICROSECOND,
    current,
    from_micros,
    revisions,
    to_micros,
    to_revision,
    to_row,
)
from scr.store.search import clear_words, forget_words, index_words

TOMBSTONE = "[erased]"
"""Statement of a fact whose words were erased."""

_FIXED = ("id", "kind", "subject", "relation", "target", "scope", "supersedes")

_LATEST = sa.select(revisions).join(current, current.c.sequence == revisions.c.sequence)
_OF_FACT = _LATEST.where(current.c.fact_id == sa.bindparam("fact_id"))
_LAST = (
    sa.select(revisions.c.sequence, revisions.c.at).order_by(revisions.c.sequence.desc()).limit(1)
)
_APPROVALS = sa.select(sa.func.count()).where(
    revisions.c.fact_id == sa.bindparam("fact_id"), revisions.c.status == "approved"
)
_CLOSURES = sa.select(sa.func.count()).where(
    revisions.c.fact_id == sa.bindparam("fact_id"),
    revisions.c.action == "close",
    revisions.c.valid_end == sa.bindparam("valid_end"),
)
_NUMBERED = sa.select(revisions).where(revisions.c.sequence == sa.bindparam("sequence"))
_BEFORE = (
    sa.select(revisions)
    .where(
        revisions.c.fact_id == sa.bindparam("fact_id"),
        revisions.c.sequence < sa.bindparam("sequence"),
    )
    .order_by(revisions.c.sequence.desc())
    .limit(1)
)
_EVERY_OF = (
    sa.select(revisions)
    .where(revisions.c.fact_id == sa.bindparam("fact_id"))
    .order_by(revisions.c.sequence)
)
_CLOSED_WITH = _EVERY_OF.where(revisions.c.action == "close", revisions.c.at == sa.bindparam("at"))
_IN_SLOT = _LATEST.where(
    revisions.c.slot_subject == sa.bindparam("subject"),
    revisions.c.slot_relation.in_(sa.bindparam("relations", expanding=True)),
    revisions.c.scope == sa.bindparam("scope"),
)
_ABOUT = _LATEST.where(
    current.c.status == "approved",
    current.c.kind == "fact",
    current.c.subject == sa.bindparam("subject"),
    current.c.scope == sa.bindparam("scope"),
)
_START, _END = (sa.bindparam(name, type_=sa.BigInteger) for name in ("start", "end"))
_RIVALS = (
    _IN_SLOT.where(
        revisions.c.status == "approved",
        revisions.c.rank == sa.bindparam("rank"),
        revisions.c.fact_id.not_in([sa.bindparam("fact_id"), sa.bindparam("apart_from")]),
        sa.or_(revisions.c.valid_start.is_(None), _END.is_(None), revisions.c.valid_start < _END),
        sa.or_(revisions.c.valid_end.is_(None), _START.is_(None), revisions.c.valid_end > _START),
    )
    .order_by(revisions.c.sequence)
    .limit(1)
)
_OF_CONTENT = (
    sa.select(revisions.c.fact_id)
    .where(revisions.c.content_hash == sa.bindparam("content_hash"))
    .order_by(revisions.c.sequence.desc())
    .limit(1)
)
_INSERT = sa.insert(revisions)
_APPEAR = sa.insert(current)
_MOVE = (
    sa.update(current)
    .where(current.c.fact_id == sa.bindparam("of"))
    .values({name: sa.bindparam(f"new_{name}") for name in ("sequence", *LISTED)})
)


class Transaction:
    """Changes that become visible together, all at one store time."""

    def __init__(
        self, connection: sa.Connection, policy: Policy, *, now: datetime, by: str, why: str
    ) -> None:
        self._connection, self._policy = connection, policy
        self.relations = Relations(policy.declared)
        self._by, self._why = by, why
        last = connection.execute(_LAST).one_or_none()
        self._sequence = last.sequence if last else 0
        self._now = now.astimezone(UTC)
        # Store time grows with the sequence even where the clock steps back.
        self.at = max(self._now, from_micros(last.at) + MICROSECOND) if last else self._now
        self._written: list[Revision] = []

    @property
    def written(self) -> list[Revision]:
        """The revisions so far, in their order."""
        return [*self._written]

    def finish(self) -> None:
        """Write what was put off until the end."""
        index_words(self._connection, self._written)

    def find(self, fact_id: str) -> Revision | None:
        """Return the latest revision of a fact, if there is one."""
        row = self._connection.execute(_OF_FACT, {"fact_id": fact_id}).one_or_none()
        return to_revision(row) if row else None

    def is_held(self, fact: Fact) -> bool | None:
        """Whether a fact is stored just as it is; `None` where none has its id."""
        row = self._connection.execute(_OF_FACT, {"fact_id": fact.id}).one_or_none()
        return None if row is None else bool(row.fact == fact.model_dump_json())

    def get(self, fact_id: str) -> Revision:
        """Return the latest revision of a fact, or raise `FactNotFound`."""
        if (found := self.find(fact_id)) is None:
            raise FactNotFound(fact_id)
        return found

    def in_slot(self, fact: Fact) -> list[Revision]:
        """Return the latest revisions of all facts in the slot of `fact`, oldest first."""
        if (slot := fact.slot) is None:
            return []
        rows = self._connection.execute(_IN_SLOT, self._place(slot))
        return sorted((to_revision(row) for row in rows), key=lambda found: found.sequence)

    def _place(self, slot: Slot) -> dict[str, object]:
        """Return what finds the facts in a slot, under any name of its relation."""
        names = self.relations.names(slot.relation)
        return {"scope": slot.scope, "subject": slot.subject, "relations": names}

    def read_unsettled(self, sources: Sequence[settled.Content]) -> list[settled.Reading]:
        """Read of packs what may change something; see `settled.read_unsettled`."""
        return settled.read_unsettled(self._connection, sources)

    def keep_settled(self, readings: Sequence[settled.Reading]) -> None:
        """Keep that everything that was read is in the store now."""
        settled.keep_settled(self._connection, readings, self._sequence)

    def declare(self, declared: Sequence[Relation]) -> None:
        """Let these be all that is declared of relations; `settle` is to follow."""
        self.relations = Relations(declared)
        self._policy = self._policy.model_copy(update={"declared": self.relations.declared})
        write_declared(self._connection, self.relations.declared)
        settled.forget_settled(self._connection)

    def settle(self) -> None:
        """Make sure that what was declared leaves no two approved facts in one slot.

        Raises:
            FactConflict: naming the first two that it would.
        """
        crowded = self._connection.execute(crowded_slots(self.relations)).all()
        facts: dict[str, Fact] = {}
        for place in crowded:
            rows = self._connection.execute(_ABOUT, dict(place._mapping))
            facts.update({row.fact_id: to_revision(row).fact for row in rows})
        for one, other in self.relations.contradictions(facts.values()):
            raise FactConflict(str(self.relations.slot(other)), other.target, one.id, one.target)

    def of_content(self, content_hash: str) -> Revision | None:
        """Return the latest revision of a fact without slot that once had this content."""
        row = self._connection.execute(_OF_CONTENT, {"content_hash": content_hash}).one_or_none()
        return self.find(row.fact_id) if row else None

    def was_closed(self, fact_id: str, end: datetime) -> bool:
        """Whether it was a successor that ended the validity of a fact at `end`."""
        known = {"fact_id": fact_id, "valid_end": to_micros(end)}
        return bool(self._connection.execute(_CLOSURES, known).scalar_one())

    def add(self, fact: Fact, *, settled: bool = False) -> Revision:
        """Add a new fact, approved or (in a store for review) proposed.

        Args:
            fact: the new fact; what it supersedes is closed in the same breath.
            settled: leave the validity of both as it is: the caller knows it to be final.
        """
        if self._policy.review:
            return self.propose(fact, settled=settled)
        self._require_new(fact)
        fact = self.relations.with_questions(fact)
        old, given = None, fact
        if fact.supersedes and settled:
            self.get(fact.supersedes)
        elif fact.supersedes:
            old, fact = self._succession(fact)
        self._require_free(fact, apart_from=old.fact.id if old else None)
        if old:
            self._close(old, fact)
        action: Action = "supersede" if fact.supersedes else "add"
        return self._record(fact, action, "approved", None, given=given)

    def propose(self, fact: Fact, *, settled: bool = False, draft: bool = False) -> Revision:
        """Add a new fact that waits: for approval, or as a draft for its author to go on with.

        `settled` is that of `add`.
        """
        self._require_new(fact)
        fact = self.relations.with_questions(fact)
        if fact.supersedes and settled:
            self.get(fact.supersedes)
        elif fact.supersedes:
            self._succession(fact, waiting=True)
        status: Status = "draft" if draft else "proposed"
        return self._record(fact, "draft" if draft else "propose", status, None)

    def approve(self, fact_id: str) -> Revision:
        """Approve a proposed fact; the first time closes what it supersedes."""
        found = self.get(fact_id)
        if found.status == "approved":
            raise TransitionRefused(fact_id, found.status, "approve", "nothing is left to do")
        if found.status != "proposed":
            hint = "propose it first (`scr submit`)"
            if found.status == "retired":
                hint = "add it again under a new id"
            raise TransitionRefused(fact_id, found.status, "approve", hint)
        if self._policy.four_eyes and self._by in self._proposers(fact_id):
            raise OwnProposal(fact_id, self._by)
        fact, old = found.fact, None
        if fact.supersedes and not self._was_approved(fact_id):
            old, fact = self._succession(fact)
        self._require_free(fact, apart_from=old.fact.id if old else None)
        if old:
            self._close(old, fact)
        return self._record(fact, "approve", "approved", found.status)

    def submit(self, fact_id: str) -> Revision:
        """Propose a draft."""
        found = self.get(fact_id)
        if found.status != "draft":
            raise TransitionRefused(fact_id, found.status, "propose", "only drafts are proposed")
        return self._record(found.fact, "propose", "proposed", "draft")

    def retire(self, fact_id: str) -> Revision:
        """Take a fact out of use for good; it stays in the history."""
        found = self.get(fact_id)
        if found.status == "retired":
            raise TransitionRefused(fact_id, found.status, "retire", "nothing is left to do")
        return self._record(found.fact, "retire", "retired", found.status)

    def revise(self, fact_id: str, changes: Mapping[str, object]) -> Revision:
        """Change a fact's wording, names, sources, rank or validity, but not its value."""
        found = self.get(fact_id)
        if found.status == "retired":
            hint = "add it again under a new id"
            raise TransitionRefused(fact_id, found.status, "revise", hint)
        fact = make_fact(**{**found.fact.model_dump(), **changes})
        for name in _FIXED:
            if getattr(fact, name) != getattr(found.fact, name):
                raise InvalidInput(
                    f"the {name} of fact {fact_id} cannot be revised; a new value is a new fact: "
                    f"add it with supersedes={fact_id}"
                )
        if fact == found.fact:
            return found
        status = found.status
        if self._policy.review and status == "approved":
            status = "proposed"
        if status == "approved":
            self._require_free(fact)
        return self._record(fact, "revise", status, found.status)

    def comment(self, fact_id: str) -> Revision:
        """Put the reason of this transaction into a fact's history; nothing else changes."""
        if not self._why.strip():
            raise InvalidInput("the comment is empty; say something")
        found = self.get(fact_id)
        return self._record(found.fact, "comment", found.status, found.status)

    def undo(self, sequence: int) -> list[Revision]:
        """Take back what a revision changed, by new ones.

        What was changed again since then stays: where it cannot, the undoing is refused. A
        successor's undoing opens again what it had closed. In a store for review, what would
        apply again waits for approval.
        """
        row = self._connection.execute(_NUMBERED, {"sequence": sequence}).one_or_none()
        if row is None:
            raise InvalidInput(f"there is no revision {sequence}; `scr history ID` shows them")
        undone = to_revision(row)
        if undone.action in ("comment", "erase"):
            raise InvalidInput(f"revision {sequence} is a {undone.action} and cannot be undone")
        made = [self._undo_one(undone)]
        if undone.action in ("supersede", "approve") and undone.fact.supersedes:
            known = {"fact_id": undone.fact.supersedes, "at": to_micros(undone.at)}
            for closing in self._connection.execute(_CLOSED_WITH, known):
                made.append(self._undo_one(to_revision(closing)))
        return made

    def _undo_one(self, undone: Revision) -> Revision:
        found = self.get(undone.fact.id)
        known = {"fact_id": undone.fact.id, "sequence": undone.sequence}
        row = self._connection.execute(_BEFORE, known).one_or_none()
        before = to_revision(row) if row else None
        fact = self._without(undone, before, found)
        status = found.status
        if before is None:
            status = "retired"
        elif before.status != undone.status and found.status == undone.status:
            status = before.status
        if self._policy.review and status == "approved":
            status = "proposed"
        if (fact, status) == (found.fact, found.status):
            hint = "nothing is left to undo"
            raise TransitionRefused(fact.id, found.status, "undo a change of", hint)
        if status == "approved":
            self._require_free(fact)
        return self._record(fact, "undo", status, found.status)

    def _without(self, undone: Revision, before: Revision | None, found: Revision) -> Fact:
        """Return the fact as it is, without what a revision changed in it."""
        if before is None:
            return found.fact
        changed = differences(before.fact, undone.fact)
        for name, values in changed.items():
            now = getattr(found.fact, name)
            if now not in values:
                hint = f"its {name} was changed again later; undo that first"
                raise TransitionRefused(found.fact.id, found.status, "undo a change of", hint)
        restored = {name: old for name, (old, _) in changed.items()}
        return make_fact(**{**found.fact.model_dump(), **restored})

    def erase(self, fact_id: str) -> Revision:
        """Take a fact's words out of the whole history; a tombstone says that they were there."""
        found = self.get(fact_id)
        stone = make_fact(id=fact_id, kind="text", statement=TOMBSTONE, scope=found.fact.scope)
        rows = self._connection.execute(_EVERY_OF, {"fact_id": fact_id}).all()
        settled.forget_settled(self._connection)
        forget_words(self._connection, [to_revision(row) for row in rows])
        for row in rows:
            emptied = to_revision(row).model_copy(update={"fact": stone, "why": ""})
            values = {k: v for k, v in to_row(emptied, None).items() if k != "sequence"}
            self._connection.execute(
                sa.update(revisions).where(revisions.c.sequence == row.sequence).values(values)
            )
        return self._record(stone, "erase", "retired", found.status)

    def _proposers(self, fact_id: str) -> set[str]:
        """Return who changed a fact since it was approved last."""
        rows = self._connection.execute(_EVERY_OF, {"fact_id": fact_id}).all()
        names: set[str] = set()
        for revision in map(to_revision, rows):
            if revision.action in ("approve", "add", "supersede"):
                names.clear()
            elif revision.action != "comment":
                names.add(revision.by)
        return names

    def _require_new(self, fact: Fact) -> None:
        declared = self._policy.relations
        if declared is not None and fact.relation:
            known = {other for name in declared for other in self.relations.names(name)}
            if normalize(fact.relation) not in known and not self.relations.of(fact.relation):
                names = {*declared, *(each.name for each in self.relations.declared)}
                raise UndeclaredRelation(fact.relation, sorted(names))
        if self.find(fact.id):
            raise InvalidInput(
                f"there already is a fact {fact.id}: revise it to change its wording, "
                f"or give a new value a new id and supersedes={fact.id}"
            )

    def _require_free(self, fact: Fact, *, apart_from: str | None = None) -> None:
        """Raise `FactConflict` if an approved fact fills the slot at a shared time."""
        if fact.slot is None or fact.rank == "deprecated":
            return
        if self.relations.is_many_valued(fact.relation):
            return
        start, end = fact.validity.start, fact.validity.end
        sought = {
            **self._place(fact.slot),
            "rank": fact.rank,
            "fact_id": fact.id,
            "apart_from": apart_from or fact.id,
            "start": to_micros(start) if start else None,
            "end": to_micros(end) if end else None,
        }
        if row := self._connection.execute(_RIVALS, sought).one_or_none():
            rival = to_revision(row).fact
            raise FactConflict(str(fact.slot), fact.target, rival.id, rival.target)

    def _was_approved(self, fact_id: str) -> bool:
        return bool(self._connection.execute(_APPROVALS, {"fact_id": fact_id}).scalar_one())

    def _succession(self, fact: Fact, *, waiting: bool = False) -> tuple[Revision, Fact]:
        """Return what `fact` supersedes, and `fact` itself with a start if it had none.

        Args:
            fact: the successor.
            waiting: whether the old fact may still wait for its own approval.
        """
        old = self.get(fact.supersedes or "")
        allowed = ("draft", "proposed", "approved") if waiting else ("approved",)
        if old.status not in allowed:
            hint = "add the new fact without supersedes"
            if old.status != "retired":
                hint = f"approve {old.fact.id} first, or retire it"
            raise TransitionRefused(old.fact.id, old.status, "supersede", hint)
        if old.fact.scope != fact.scope:
            raise InvalidInput(
                f"a fact of scope {fact.scope!r} cannot supersede {old.fact.id}, which is of "
                f"scope {old.fact.scope!r}; add it without supersedes, or in that scope"
            )
        start, began = fact.validity.start or self._start_after(old.fact), old.fact.validity.start
        if began and began >= start:
            raise InvalidInput(
                f"the new fact would hold from {start:%Y-%m-%d %H:%M} but {old.fact.id}, which it "
                f"supersedes, only from {began:%Y-%m-%d %H:%M}: give it a later start, "
                f"or retire {old.fact.id} and add the new one without supersedes"
            )
        return old, self._dated(fact, start, fact.validity.end)

    def _start_after(self, old: Fact) -> datetime:
        """Return when a successor of `old` starts that names no start: now.

        Where the clock stood still or stepped back since `old` began, that is a moment later.
        """
        began = old.validity.start
        clock_erred = began is not None and self._now <= began < self.at
        return began + MICROSECOND if began and clock_erred else self._now

    def _close(self, old: Revision, successor: Fact) -> None:
        """End the validity of `old` where that of its successor begins."""
        start, end = successor.validity.start, old.fact.validity.end
        if start and (end is None or end > start):
            closed = self._dated(old.fact, old.fact.validity.start, start)
            self._record(closed, "close", old.status, old.status)

    def _dated(self, fact: Fact, start: datetime | None, end: datetime | None) -> Fact:
        try:
            validity = Validity(start=start, end=end)
        except ValidationError as error:
            raise InvalidInput(f"fact {fact.id} cannot hold then: {explain(error)}") from error
        return fact.model_copy(update={"validity": validity})

    def _record(
        self,
        fact: Fact,
        action: Action,
        status: Status,
        previous: Status | None,
        *,
        given: Fact | None = None,
    ) -> Revision:
        """Append a revision.

        Args:
            fact: the fact from now on.
            action: what was done.
            status: the status from now on.
            previous: the status before; `None` for a new fact.
            given: the fact as its author wrote it, where that differs: a pack line without id
                is found again by it.
        """
        try:
            revision = Revision(
                sequence=self._sequence + 1,
                fact=fact,
                action=action,
                previous_status=previous,
                status=status,
                at=self.at,
                by=self._by,
                why=self._why,
            )
        except ValidationError as error:
            raise InvalidInput(f"this change cannot be recorded: {explain(error)}") from error
        self._sequence = revision.sequence
        content_hash = None if fact.slot else (given or fact).content_hash
        row = to_row(revision, content_hash)
        self._connection.execute(_INSERT, row)
        latest = {name: row[name] for name in ("sequence", *LISTED)}
        if previous is None:
            self._connection.execute(_APPEAR, {"fact_id": fact.id, **latest})
        else:
            moved = {f"new_{name}": value for name, value in latest.items()}
            self._connection.execute(_MOVE, {"of": fact.id, **moved})
        self._written.append(revision)
        return revision


def derive(connection: sa.Connection) -> None:
    """Replay the revisions: fill `current` and the full text from them alone."""
    connection.execute(sa.delete(current))
    clear_words(connection)
    last: dict[str, Revision] = {}
    rows = connection.execute(sa.select(revisions).order_by(revisions.c.sequence)).all()
    for revision in map(to_revision, rows):
        last[revision.fact.id] = revision
        index_words(connection, [revision])
    for fact_id, revision in last.items():
        row = to_row(revision, None)
        latest = {name: row[name] for name in ("sequence", *LISTED)}
        connection.execute(_APPEAR, {"fact_id": fact_id, **latest})
