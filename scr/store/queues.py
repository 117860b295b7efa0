"""Work for a knowledge team: which facts want somebody's attention, and why."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from scr.facts import Fact, Revision, normalize
from scr.records import Record
from scr.store.relations import Relation, Relations

SOON: Final = timedelta(days=30)


class Task(Record):
    """A fact that wants attention."""

    queue: str
    fact_id: str
    scope: str
    """The fact's."""

    why: str
    """What is to be looked at, in a sentence."""

    others: tuple[str, ...] = ()
    """Ids of the other facts that it is about."""


class View(NamedTuple):
    """What a queue knows besides the facts."""

    now: datetime

    relations: Relations
    """What is declared of relations."""


Key = Hashable
"""What facts of a queue have in common that are to be looked at together."""

Bucket = Sequence[Revision]
"""The latest revisions of the facts that share a key, in the order of their ids."""


class Queue(NamedTuple):
    """One kind of task. Whether a fact is one depends only on facts that share a key with it."""

    keys: Callable[[Revision, Relations], Iterable[Key]]
    """The keys of a fact; none: it has nothing to do with this queue."""

    find: Callable[[Any, Bucket, View], Iterator[Task]]
    """Finds the tasks among the facts of a key."""

    least: int = 1
    """How many facts a key has at least where there is a task."""


def tasks(
    latest: Sequence[Revision],
    now: datetime,
    queues: Sequence[str] = (),
    *,
    declared: Sequence[Relation] = (),
) -> list[Task]:
    """Return the tasks of some queues (all, if none is named), by queue and then by fact.

    A `Worklist` finds the same and follows a store.

    Args:
        latest: the latest revisions of all facts.
        now: the moment, zone-aware.
        queues: names of queues.
        declared: what is declared of relations.
    """
    view = View(now, Relations(declared))
    ordered = sorted(latest, key=lambda revision: revision.fact.id)
    found: list[Task] = []
    for name in QUEUES:
        if queues and name not in queues:
            continue
        buckets: dict[Key, list[Revision]] = defaultdict(list)
        for revision in ordered:
            for key in QUEUES[name].keys(revision, view.relations):
                buckets[key].append(revision)
        for key, bucket in buckets.items():
            found += QUEUES[name].find(key, bucket, view)
    return in_order(found)


def in_order(found: Iterable[Task]) -> list[Task]:
    """Return tasks by queue and then by fact; of those about the same facts only one."""
    places = {name: place for place, name in enumerate(QUEUES)}
    once: dict[object, Task] = {}
    for task in sorted(found, key=lambda task: (places[task.queue], task.fact_id, task.why)):
        once.setdefault((task.queue, task.fact_id, task.others), task)
    return list(once.values())


def distinct(one: Fact, other: Fact, relations: Relations) -> bool:
    """Whether two facts that ask the same are meant to: values of different times, or several."""
    many = relations.is_many_valued(one.relation) and one.target != other.target
    return (
        not one.validity.overlaps(other.validity)
        or one.supersedes == other.id
        or other.supersedes == one.id
        or (many and one.slot is not None and relations.slot(one) == relations.slot(other))
    )


def _of_status(*statuses: str) -> Callable[[Revision, Relations], Iterable[Key]]:
    """Return keys of facts of some statuses, each fact for itself."""

    def keys(revision: Revision, relations: Relations) -> Iterable[Key]:
        return [revision.fact.id] if revision.status in statuses else []

    return keys


def _waiting(key: Key, bucket: Bucket, view: View) -> Iterator[Task]:
    for revision in bucket:
        why = f"waits for approval since {revision.at:%Y-%m-%d}, from {revision.by}"
        yield _task("waiting", revision.fact, why)


def _drafts(key: Key, bucket: Bucket, view: View) -> Iterator[Task]:
    for revision in bucket:
        why = f"is a draft since {revision.at:%Y-%m-%d}, by {revision.by}"
        yield _task("drafts", revision.fact, why)


def _slot(revision: Revision, relations: Relations) -> Iterable[Key]:
    slot = relations.slot(revision.fact)
    return [slot] if slot and revision.status in ("approved", "proposed", "draft") else []


def _conflicts(key: Key, bucket: Bucket, view: View) -> Iterator[Task]:
    approved = [revision.fact for revision in bucket if revision.status == "approved"]
    for fact in (revision.fact for revision in bucket if revision.status != "approved"):
        rivals = [
            rival
            for rival in approved
            if view.relations.contradict(fact, rival) and rival.id not in (fact.id, fact.supersedes)
        ]
        if rivals:
            told = ", ".join(f"{rival.id} ({rival.target})" for rival in rivals)
            why = f"says {fact.target}, against {told}: let it supersede that, or rank them"
            yield _task("conflicts", fact, why, rivals)


def _questions(revision: Revision, relations: Relations) -> Iterable[Key]:
    fact = revision.fact
    if revision.status not in ("approved", "proposed", "draft"):
        return ()
    return {(fact.scope, normalize(text)) for text in fact.questions}


def _duplicates(key: tuple[str, str], bucket: Bucket, view: View) -> Iterator[Task]:
    facts = [revision.fact for revision in bucket]
    while len(facts) > 1:
        first, *others = facts
        same = [each for each in others if not distinct(first, each, view.relations)]
        if same:
            yield _task("duplicates", first, f"asks {key[1]!r}, as others do", same)
        facts = [each for each in others if each not in same]


def _sourceless(revision: Revision, relations: Relations) -> Iterable[Key]:
    counts = revision.status in ("approved", "proposed", "draft") and not revision.fact.sources
    return [revision.fact.id] if counts else []


def _unsourced(key: Key, bucket: Bucket, view: View) -> Iterator[Task]:
    for revision in bucket:
        yield _task("unsourced", revision.fact, "has no source that one could open")


def _ending(revision: Revision, relations: Relations) -> Iterable[Key]:
    fact = revision.fact
    if fact.validity.end is not None and revision.status == "approved":
        yield fact.id
    if fact.supersedes and revision.status in ("approved", "proposed"):
        yield fact.supersedes


def _expiring(key: str, bucket: Bucket, view: View) -> Iterator[Task]:
    if any(revision.fact.supersedes == key for revision in bucket):
        return
    for fact in (revision.fact for revision in bucket):
        end = fact.validity.end
        if end is not None and view.now <= end < view.now + SOON:
            yield _task("expiring", fact, f"holds until {end:%Y-%m-%d} only")


def _names(revision: Revision, relations: Relations) -> Iterable[Key]:
    if revision.status not in ("approved", "proposed"):
        return ()
    return {(revision.fact.scope, normalize(name)) for name in revision.fact.names}


def _ambiguous(key: tuple[str, str], bucket: Bucket, view: View) -> Iterator[Task]:
    bearers: dict[str, Fact] = {}
    for revision in sorted(bucket, key=lambda revision: revision.status != "approved"):
        bearers.setdefault(normalize(revision.fact.subject), revision.fact)
    if len(bearers) > 1:
        first, *others = bearers.values()
        why = f"{key[1]!r} names {len(bearers)} subjects: {', '.join(sorted(bearers))}"
        yield _task("ambiguous", first, why, others)


def _both_ways(revision: Revision, relations: Relations) -> Iterable[Key]:
    fact = revision.fact
    if revision.status == "approved" and fact.slot:
        yield from _said(fact, relations)
        if (asked := _asked_back(fact, relations)) is not None:
            yield asked


def _said(fact: Fact, relations: Relations) -> set[Key]:
    """Return of which subjects a fact says something, by scope, name and relation."""
    usual = relations.names(fact.relation)[0]
    return {(fact.scope, normalize(name), usual) for name in fact.names}


def _asked_back(fact: Fact, relations: Relations) -> Key | None:
    """Return what should be said of the fact's target, where its relation leads both ways."""
    back = relations.opposite(fact)
    return (fact.scope, normalize(fact.target), back[0]) if back else None


def _one_sided(key: tuple[str, str, str], bucket: Bucket, view: View) -> Iterator[Task]:
    facts = [revision.fact for revision in bucket]
    answers = [fact for fact in facts if key in _said(fact, view.relations)]
    for fact in facts:
        if _asked_back(fact, view.relations) != key:
            continue
        mine = {normalize(name) for name in fact.names}
        if not any(
            normalize(each.target) in mine and each.validity.overlaps(fact.validity)
            for each in answers
        ):
            why = f"no fact says that the {key[2]} of {fact.target} is {fact.subject}"
            yield _task("one_sided", fact, why, answers)


def _without_tests(revision: Revision, relations: Relations) -> Iterable[Key]:
    fact = revision.fact
    tested = fact.must_fire or fact.must_not_fire
    return [fact.id] if revision.status in ("proposed", "draft") and not tested else []


def _untested(key: Key, bucket: Bucket, view: View) -> Iterator[Task]:
    for revision in bucket:
        yield _task("untested", revision.fact, "has no test questions")


def _task(queue: str, fact: Fact, why: str, others: Iterable[Fact] = ()) -> Task:
    ids = tuple(other.id for other in others)
    return Task(queue=queue, fact_id=fact.id, scope=fact.scope, why=why, others=ids)


QUEUES: Final[Mapping[str, Queue]] = {
    "waiting": Queue(_of_status("proposed"), _waiting),
    "drafts": Queue(_of_status("draft"), _drafts),
    "conflicts": Queue(_slot, _conflicts, least=2),
    "duplicates": Queue(_questions, _duplicates, least=2),
    "unsourced": Queue(_sourceless, _unsourced),
    "expiring": Queue(_ending, _expiring),
    "ambiguous": Queue(_names, _ambiguous, least=2),
    "one_sided": Queue(_both_ways, _one_sided),
    "untested": Queue(_without_tests, _untested),
}
"""Queues by name: waiting for approval; drafts; against an approved fact; asking what another fact
asks; without sources; ending soon; a name that several subjects bear; of a relation that leads both
ways, stated from one side only; proposed without tests."""
