"""The store: facts, everything that ever happened to them, and the traces of requests."""

import builtins
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import sqlalchemy as sa

from scr.errors import FactNotFound, InvalidInput, StoreCorrupt, StoreExists
from scr.facts import Fact, Revision
from scr.records import Trace
from scr.store import packs, traces, usage
from scr.store.database import BUSY_SECONDS, Database
from scr.store.formats import Pack, read_pack
from scr.store.keys import KeyRing
from scr.store.packs import ImportReport
from scr.store.plans import Plan, Source, carry_out
from scr.store.policy import Policy, read_policy
from scr.store.reading import Reader
from scr.store.relations import Relation, Relations
from scr.store.transaction import Transaction, derive
from scr.store.usage import Usage

Move = Literal["submit", "approve", "retire"]
"""What can be done to many facts at once: propose drafts, approve proposals, retire facts."""

TRACE_SECONDS = 0.1
"""How long a trace waits for other writers: a request waits with it."""


def _now() -> datetime:
    return datetime.now(UTC)


class Store(Reader):
    """Facts in one file, with review, history and packs in and out.

    Made by `Store.create` or `Store.open`. Safe to share between threads; any number of
    processes may have the same file open. What a method has returned is on the disk.

        with Store.open("facts.db", create=True) as store:
            store.add(make_fact(subject="Company X", relation="CEO", target="Dana Lee"), by="ann")
    """

    def __init__(self, database: Database, policy: Policy, clock: Callable[[], datetime]) -> None:
        super().__init__(database)
        self._policy, self._clock = policy, clock
        self._traces = Database(database.path, busy_seconds=TRACE_SECONDS, durable=False)

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        review: bool = False,
        four_eyes: bool = False,
        relations: Sequence[str] | None = None,
        busy_seconds: float = BUSY_SECONDS,
        clock: Callable[[], datetime] = _now,
    ) -> "Store":
        """Make an empty store and open it.

        Args:
            path: the file to make.
            review: whether changes are proposed and need an approval.
            four_eyes: whether nobody approves what they proposed themselves; takes `review`.
            relations: the only relations allowed; `None` allows any.
            busy_seconds: as in `open`.
            clock: as in `open`.

        Raises:
            StoreExists: if there is a file already.
            StoreError: if the place cannot be written.
        """
        closed = None if relations is None else sorted(set(relations))
        if four_eyes and not review:
            raise InvalidInput("four eyes look at proposals: make the store for review too")
        chosen = {"review": review, "relations": closed, "four_eyes": four_eyes}
        Database.create(Path(path), {name: json.dumps(value) for name, value in chosen.items()})
        return cls.open(path, busy_seconds=busy_seconds, clock=clock)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        create: bool = False,
        busy_seconds: float = BUSY_SECONDS,
        clock: Callable[[], datetime] = _now,
    ) -> "Store":
        """Open the store at `path`.

        Args:
            path: its file.
            create: make it, open to all relations and without review, if it is missing.
            busy_seconds: how long to wait for other processes' writes.
            clock: gives the present, zone-aware.

        Raises:
            StoreMissing: if there is none, unless `create`.
            StoreCorrupt: if the file is no readable store; it is left untouched.
            StoreTooNew: if a newer version of SCR wrote it; it is left untouched.
        """
        path = Path(path)
        if create and not os.path.lexists(path):
            with suppress(StoreExists):  # another process was first: open what it made
                return cls.create(path, busy_seconds=busy_seconds, clock=clock)
        database = Database.open(path, busy_seconds=busy_seconds)
        try:
            with database.read() as connection:
                policy = _policy(connection, path)
        except BaseException:
            database.close()
            raise
        return cls(database, policy, clock)

    @property
    def path(self) -> Path:
        """The store's file."""
        return self._database.path

    @property
    def review(self) -> bool:
        """Whether changes are proposed and need an approval."""
        return self._policy.review

    @property
    def four_eyes(self) -> bool:
        """Whether nobody approves what they proposed themselves."""
        return self._policy.four_eyes

    @property
    def relations(self) -> tuple[str, ...] | None:
        """The only relations allowed, beside declared ones, sorted; `None` allows any."""
        return self._policy.relations

    @property
    def declared(self) -> tuple[Relation, ...]:
        """What is declared of relations now."""
        with self._database.read() as connection:
            return _policy(connection, self.path).declared

    def close(self) -> None:
        """Close the file; whatever is asked of the store later raises `StoreError`."""
        self._traces.close()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def usage(self) -> Usage:
        """How often each fact is used."""
        return Usage(self._traces)

    @property
    def keys(self) -> KeyRing:
        """The keys of the server."""
        return KeyRing(self._database, self._clock)

    # Changes

    def add(self, fact: Fact, *, by: str, why: str = "") -> Revision:
        """Add a new fact: approved at once, or proposed in a store for review.

        With `fact.supersedes`, the old fact's validity ends where the new one's starts. A new
        fact without start then starts now.

        Raises:
            FactConflict: if an approved fact of the same rank fills the slot at a shared time.
            FactNotFound: if the fact to supersede does not exist.
            TransitionRefused: if it is not approved.
            InvalidInput: if the id is taken, or the new fact starts before the old one.
            UndeclaredRelation: if the store is closed to this relation.
        """
        with self._transaction(by, why) as transaction:
            return transaction.add(fact)

    def propose(self, fact: Fact, *, by: str, why: str = "") -> Revision:
        """Add a new fact that waits for approval, in any store.

        Raises:
            FactNotFound: if the fact to supersede does not exist.
            TransitionRefused: if it is retired.
            InvalidInput: if the id is taken, or the new fact starts before the old one.
            UndeclaredRelation: if the store is closed to this relation.
        """
        with self._transaction(by, why) as transaction:
            return transaction.propose(fact)

    def draft(self, fact: Fact, *, by: str, why: str = "") -> Revision:
        """Add a new fact that its author still works at; `submit` proposes it.

        Raises:
            ScrError: whatever `propose` would raise.
        """
        with self._transaction(by, why) as transaction:
            return transaction.propose(fact, draft=True)

    def move(
        self, fact_ids: Sequence[str], move: Move, *, by: str, why: str = ""
    ) -> builtins.list[Revision]:
        """Submit, approve or retire facts in their order: all of them, or none.

        Raises:
            ScrError: whatever `submit`, `approve` or `retire` would raise.
        """
        with self._transaction(by, why) as transaction:
            moves = {
                "submit": transaction.submit,
                "approve": transaction.approve,
                "retire": transaction.retire,
            }
            return [moves[move](fact_id) for fact_id in fact_ids]

    def submit(self, fact_id: str, *, by: str, why: str = "") -> Revision:
        """Propose a draft: from then on it waits for approval.

        Raises:
            FactNotFound: if there is no such fact.
            TransitionRefused: if it is no draft.
        """
        return self.move([fact_id], "submit", by=by, why=why)[0]

    def revise(
        self, fact_id: str, changes: Mapping[str, object], *, by: str, why: str = ""
    ) -> Revision:
        """Change a fact's wording, aliases, sources, validity, tags, rank or note.

        In a store for review the fact then waits for approval again. Changing nothing returns
        the revision that is there.

        Args:
            fact_id: the fact.
            changes: new values by field; a field is replaced whole.
            by: who changes it.
            why: the reason.

        Raises:
            FactNotFound: if there is no such fact.
            TransitionRefused: if it is retired.
            InvalidInput: if a value cannot be used, or would change what the fact says: a new
                value is a new fact.
            FactConflict: if an approved fact fills the slot at the new validity.
        """
        with self._transaction(by, why) as transaction:
            return transaction.revise(fact_id, changes)

    def approve(self, fact_id: str, *, by: str, why: str = "") -> Revision:
        """Let a proposed fact fire; what it supersedes is closed now.

        Raises:
            FactNotFound: if there is no such fact, or none such as it supersedes.
            TransitionRefused: if it is not proposed, or what it supersedes is not approved.
            FactConflict: if an approved fact fills the slot at a shared time.
        """
        return self.move([fact_id], "approve", by=by, why=why)[0]

    def retire(self, fact_id: str, *, by: str, why: str = "") -> Revision:
        """Take a fact out of use for good; its history stays.

        Raises:
            FactNotFound: if there is no such fact.
            TransitionRefused: if it is retired already.
        """
        return self.move([fact_id], "retire", by=by, why=why)[0]

    def replace(self, fact_id: str, rival: str, *, by: str, why: str) -> Revision:
        """Approve a proposed fact and retire the approved one that it contradicts: both or neither.

        For a value that was wrong all along; one that changed is superseded.

        Raises:
            InvalidInput: if the two do not contradict each other.
            ScrError: whatever `approve` or `retire` would raise.
        """
        with self._transaction(by, why) as transaction:
            proposal, against = transaction.get(fact_id), transaction.get(rival)
            waits = proposal.status in ("proposed", "draft") and against.status == "approved"
            if not waits or not transaction.relations.contradict(proposal.fact, against.fact):
                raise InvalidInput(
                    f"{fact_id} and {rival} contradict each other no longer: look again"
                )
            transaction.retire(rival)
            return transaction.approve(fact_id)

    def comment(self, fact_id: str, text: str, *, by: str) -> Revision:
        """Put a comment into a fact's history.

        Raises:
            FactNotFound: if there is no such fact.
            InvalidInput: if the comment is empty.
        """
        with self._transaction(by, text) as transaction:
            return transaction.comment(fact_id)

    def undo(self, sequence: int, *, by: str, why: str = "") -> builtins.list[Revision]:
        """Take back what a revision changed, by new revisions.

        Raises:
            InvalidInput: if there is no such revision, or it changed nothing.
            TransitionRefused: if it was taken back already, or what it changed was changed again.
            FactConflict: if what would be approved again meets an approved fact.
        """
        with self._transaction(by, why) as transaction:
            return transaction.undo(sequence)

    def erase(self, fact_id: str, *, by: str, why: str) -> Revision:
        """Take a fact's words out of history, full text, traces and the file itself, for good.

        For the law, not for mistakes: those are retired. A tombstone stays, with `by`, `why` and
        the times of the fact's revisions. Indexes made of the store drop the words when they next
        follow it; `SCR.erase` removes the one beside the store at once.

        Raises:
            FactNotFound: if there is no such fact.
            InvalidInput: if no reason is given.
        """
        if not why.strip():
            raise InvalidInput("an erasure needs a reason: it is all that will be left to read")
        with self._database.write() as connection:
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
            transaction = self._begin(connection, by, why)
            revision = transaction.erase(fact_id)
            transaction.finish()
            traces.forget(connection, fact_id)
            usage.forget(connection, fact_id)
        self._database.compact()
        return revision

    def import_pack(
        self,
        lines: Iterable[str | bytes] | Pack,
        *,
        name: str,
        by: str,
        why: str = "",
        keep_going: bool = False,
        dry_run: bool = False,
    ) -> ImportReport:
        """Take in a pack, one fact a line; see `knowledge/README.md` for the format.

        Args:
            lines: its lines, best as bytes: then text that is no UTF-8 is a bad line too; or what
                was read of a file in another format.
            name: what to call it in messages.
            by: who imports it.
            why: the reason.
            keep_going: take the good lines even where others are bad.
            dry_run: report what would be done, and do nothing.

        Raises:
            PackInvalid: naming each bad line and why, unless `keep_going`; nothing is taken.
        """
        # Read before the transaction: the source may be slow.
        pack = lines if isinstance(lines, Pack) else read_pack(lines)
        with self._rehearsal(by, why) if dry_run else self._transaction(by, why) as transaction:
            return packs.import_pack(transaction, pack, name=name, keep_going=keep_going)

    def declare(self, relations: Sequence[Relation]) -> None:
        """Let `relations` be all that is declared of relations.

        Raises:
            InvalidInput: if they do not fit together.
            FactConflict: if two approved facts would contradict each other then.
        """
        with self._transaction("", "") as transaction:
            transaction.declare(relations)
            transaction.settle()

    def plan(
        self,
        sources: Sequence[Source],
        *,
        by: str,
        prune: str | None = None,
        relations: Sequence[Relation] | None = None,
    ) -> Plan:
        """Return what `apply` would change, and change nothing.

        Raises:
            PackInvalid: as `apply` would.
            FactConflict: likewise.
        """
        with self._rehearsal(by, "") as transaction:
            return self._carry_out(transaction, sources, prune, relations, keep=False)

    def apply(
        self,
        sources: Sequence[Source],
        *,
        by: str,
        why: str = "",
        prune: str | None = None,
        relations: Sequence[Relation] | None = None,
    ) -> Plan:
        """Bring the store to what packs say, all of it or nothing, and return what changed.

        Args:
            sources: the packs; they may refer to each other.
            by: who applies them.
            why: the reason.
            prune: scope whose approved facts are retired where no pack holds them, those of the
                scopes below included; `None` retires none.
            relations: all that is to be declared of relations; `None` leaves that as it is.

        Raises:
            PackInvalid: naming each line that cannot be used.
            FactConflict: if what is declared leaves two approved facts that contradict each other.
        """
        with self._transaction(by, why) as transaction:
            return self._carry_out(transaction, sources, prune, relations, keep=True)

    def rehearse_approval(self, fact_id: str) -> builtins.list[Revision]:
        """Return the revisions that somebody's approval would write, and write none.

        Raises:
            ScrError: whatever `approve` would raise.
        """
        with self._rehearsal("preview", "") as transaction:
            transaction.approve(fact_id)
            return transaction.written

    def _carry_out(
        self,
        transaction: Transaction,
        sources: Sequence[Source],
        prune: str | None,
        relations: Sequence[Relation] | None,
        *,
        keep: bool,
    ) -> Plan:
        def before(fact_id: str) -> Fact | None:
            try:
                return self.get(fact_id).fact  # by a connection that sees none of this
            except FactNotFound:
                return None

        approved = self.list() if prune is not None else []
        return carry_out(
            transaction, sources, before=before, prune=prune, approved=approved,
            declared=relations, keep=keep,
        )  # fmt: skip

    def rebuild(self) -> None:
        """Derive anew what is derived of the revisions: the latest of each fact, and full text."""
        with self._database.write() as connection:
            derive(connection)

    # Traces

    def save_traces(self, kept: Sequence[Trace], *, retention_days: float = 30.0) -> None:
        """Count the use of facts, keep traces, and prune as `prune_traces` does.

        A request waits for this: other writers are waited for only a tenth of a second, and a
        power cut may take back the last traces.

        Raises:
            StoreBusy: if another writer takes longer; the traces are not kept.
        """
        with self._traces.write() as connection:
            usage.count(connection, kept)
            for trace in kept if retention_days else ():
                traces.save(connection, trace)
            traces.prune(connection, self._clock(), retention_days)

    def prune_traces(self, retention_days: float) -> None:
        """Delete the traces that are `retention_days` old; 0 deletes all.

        Where there is nothing to delete, nothing is written and no writer waited for.

        Raises:
            StoreBusy: if another writer takes longer than a tenth of a second.
        """
        now = self._clock()
        with self._traces.read() as connection:
            if not traces.any_over(connection, now, retention_days):
                return
        with self._traces.write() as connection:
            traces.prune(connection, now, retention_days)

    def trace(self, trace_id: str) -> Trace:
        """Return a trace.

        Raises:
            TraceNotFound: if there is none, or it was pruned.
        """
        with self._database.read() as connection:
            return traces.get(connection, trace_id)

    def traces(self, limit: int = 20) -> builtins.list[Trace]:
        """Return the latest traces, the newest first."""
        with self._database.read() as connection:
            return traces.latest(connection, limit)

    @contextmanager
    def _transaction(self, by: str, why: str) -> Iterator[Transaction]:
        with self._database.write() as connection:
            transaction = self._begin(connection, by, why)
            yield transaction
            transaction.finish()

    @contextmanager
    def _rehearsal(self, by: str, why: str) -> Iterator[Transaction]:
        """A transaction that is taken back at its end, whatever was done in it."""
        with self._database.write() as connection:
            yield self._begin(connection, by, why)
            connection.rollback()

    def _begin(self, connection: sa.Connection, by: str, why: str) -> Transaction:
        policy = _policy(connection, self.path)  # relations may have been declared meanwhile
        return Transaction(connection, policy, now=self._clock(), by=by, why=why)

    def _alike(self, relation: str | None) -> Sequence[str]:
        return () if relation is None else Relations(self.declared).names(relation)


def _policy(connection: sa.Connection, path: Path) -> Policy:
    try:
        return read_policy(connection)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(str(path), "its settings cannot be read") from error
