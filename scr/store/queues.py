"""Work for a knowledge team: which facts want somebody's attention, and why."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from scr.facts import Fact, Revision, normalize
from scr.records import Record
from scr.store.transaction import contradict

SOON: Final = timedelta(days=30)


class Task(Record):
    """A fact that wants attention."""

    queue: str
    fact_id: str
    why: str
    """What is to be looked at, in a sentence."""

    others: tuple[str, ...] = ()
    """Ids of the other facts that it is about."""


Queue = Callable[[Sequence[Revision], datetime], Iterator[Task]]
"""Finds tasks among the latest revisions of all facts, at a moment."""


def tasks(latest: Sequence[Revision], now: datetime, queues: Sequence[str] = ()) -> list[Task]:
    """Return the tasks of some queues (all, if none is named), in the order of `QUEUES`."""
    wanted = [name for name in QUEUES if not queues or name in queues]
    return [task for name in wanted for task in QUEUES[name](latest, now)]


def _waiting(latest: Sequence[Revision], _now: datetime) -> Iterator[Task]:
    for revision in latest:
        if revision.status in ("draft", "proposed"):
            why = f"waits for approval since {revision.at:%Y-%m-%d}, from {revision.by}"
            yield Task(queue="waiting", fact_id=revision.fact.id, why=why)


def _conflicts(latest: Sequence[Revision], _now: datetime) -> Iterator[Task]:
    in_slot: dict[object, list[Fact]] = defaultdict(list)
    for fact in _of(latest, "approved"):
        in_slot[fact.slot].append(fact)
    for fact in _of(latest, "proposed", "draft"):
        rivals = [
            rival
            for rival in in_slot.get(fact.slot, [])
            if contradict(fact, rival) and rival.id not in (fact.id, fact.supersedes)
        ]
        if rivals:
            told = ", ".join(f"{rival.id} ({rival.target})" for rival in rivals)
            why = f"says {fact.target}, against {told}: let it supersede that, or rank them"
            others = tuple(rival.id for rival in rivals)
            yield Task(queue="conflicts", fact_id=fact.id, why=why, others=others)


def _duplicates(latest: Sequence[Revision], _now: datetime) -> Iterator[Task]:
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for fact in _of(latest, "approved", "proposed", "draft"):
        for question in {normalize(text) for text in fact.questions}:
            alike[fact.scope, question].append(fact.id)
    for (_, question), ids in alike.items():
        if len(ids) > 1:
            why = f"asks {question!r}, as others do"
            yield Task(queue="duplicates", fact_id=ids[0], why=why, others=tuple(ids[1:]))


def _unsourced(latest: Sequence[Revision], _now: datetime) -> Iterator[Task]:
    for fact in _of(latest, "approved", "proposed", "draft"):
        if not fact.sources:
            yield Task(queue="unsourced", fact_id=fact.id, why="has no source that one could open")


def _expiring(latest: Sequence[Revision], now: datetime) -> Iterator[Task]:
    for fact in _of(latest, "approved"):
        end = fact.validity.end
        if end is not None and now <= end < now + SOON:
            why = f"holds until {end:%Y-%m-%d} only"
            yield Task(queue="expiring", fact_id=fact.id, why=why)


def _ambiguous(latest: Sequence[Revision], _now: datetime) -> Iterator[Task]:
    bearers: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)  # name -> subject -> fact
    for fact in _of(latest, "approved"):
        for name in fact.names:
            bearers[fact.scope, normalize(name)].setdefault(normalize(fact.subject), fact.id)
    for (_, name), found in bearers.items():
        if len(found) > 1:
            first, *others = found.values()
            why = f"{name!r} names {len(found)} subjects: {', '.join(sorted(found))}"
            yield Task(queue="ambiguous", fact_id=first, why=why, others=tuple(others))


def _untested(latest: Sequence[Revision], _now: datetime) -> Iterator[Task]:
    for fact in _of(latest, "proposed", "draft"):
        if not (fact.must_fire or fact.must_not_fire):
            yield Task(queue="untested", fact_id=fact.id, why="has no test questions")


def _of(latest: Sequence[Revision], *statuses: str) -> Iterator[Fact]:
    return (revision.fact for revision in latest if revision.status in statuses)


QUEUES: Final[Mapping[str, Queue]] = {
    "waiting": _waiting,
    "conflicts": _conflicts,
    "duplicates": _duplicates,
    "unsourced": _unsourced,
    "expiring": _expiring,
    "ambiguous": _ambiguous,
    "untested": _untested,
}
"""Queues by name: waiting for approval; against an approved fact; asking what another fact asks;
without sources; ending soon; a name that several subjects bear; proposed without tests."""
