"""Work for a knowledge team: which facts want somebody's attention, and why."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from scr.facts import Fact, Revision, normalize
from scr.records import Record
from scr.store.relations import Relation, Relations

SOON: Final = timedelta(days=30)


class Task(Record):
    """A fact that wants attention."""

    queue: str
    fact_id: str
    why: str
    """What is to be looked at, in a sentence."""

    others: tuple[str, ...] = ()
    """Ids of the other facts that it is about."""


class View(NamedTuple):
    """What a queue looks at."""

    latest: Sequence[Revision]
    """The latest revisions of all facts."""

    now: datetime

    relations: Relations
    """What is declared of relations."""

    def of(self, *statuses: str) -> Iterator[Fact]:
        """Yield the facts of some statuses."""
        return (revision.fact for revision in self.latest if revision.status in statuses)


Queue = Callable[[View], Iterator[Task]]
"""Finds tasks."""


def tasks(
    latest: Sequence[Revision],
    now: datetime,
    queues: Sequence[str] = (),
    *,
    declared: Sequence[Relation] = (),
) -> list[Task]:
    """Return the tasks of some queues (all, if none is named), in the order of `QUEUES`.

    Args:
        latest: the latest revisions of all facts.
        now: the moment, zone-aware.
        queues: names of queues.
        declared: what is declared of relations.
    """
    view = View(latest, now, Relations(declared))
    wanted = [name for name in QUEUES if not queues or name in queues]
    return [task for name in wanted for task in QUEUES[name](view)]


def distinct(one: Fact, other: Fact, relations: Relations) -> bool:
    """Whether two facts that ask the same are meant to: values of different times, or several."""
    many = relations.is_many_valued(one.relation) and one.target != other.target
    return (
        not one.validity.overlaps(other.validity)
        or one.supersedes == other.id
        or other.supersedes == one.id
        or (many and one.slot is not None and relations.slot(one) == relations.slot(other))
    )


def _waiting(view: View) -> Iterator[Task]:
    for revision in view.latest:
        if revision.status == "proposed":
            why = f"waits for approval since {revision.at:%Y-%m-%d}, from {revision.by}"
            yield Task(queue="waiting", fact_id=revision.fact.id, why=why)


def _drafts(view: View) -> Iterator[Task]:
    for revision in view.latest:
        if revision.status == "draft":
            why = f"is a draft since {revision.at:%Y-%m-%d}, by {revision.by}"
            yield Task(queue="drafts", fact_id=revision.fact.id, why=why)


def _conflicts(view: View) -> Iterator[Task]:
    relations = view.relations
    in_slot: dict[object, list[Fact]] = defaultdict(list)
    for fact in view.of("approved"):
        in_slot[relations.slot(fact)].append(fact)
    for fact in view.of("proposed", "draft"):
        rivals = [
            rival
            for rival in in_slot.get(relations.slot(fact), [])
            if relations.contradict(fact, rival) and rival.id not in (fact.id, fact.supersedes)
        ]
        if rivals:
            told = ", ".join(f"{rival.id} ({rival.target})" for rival in rivals)
            why = f"says {fact.target}, against {told}: let it supersede that, or rank them"
            others = tuple(rival.id for rival in rivals)
            yield Task(queue="conflicts", fact_id=fact.id, why=why, others=others)


def _duplicates(view: View) -> Iterator[Task]:
    alike: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in view.of("approved", "proposed", "draft"):
        for question in {normalize(text) for text in fact.questions}:
            alike[fact.scope, question].append(fact)
    told: set[tuple[str, ...]] = set()
    for (_, question), facts in alike.items():
        while len(facts) > 1:
            first, *others = facts
            same = [each for each in others if not distinct(first, each, view.relations)]
            ids = (first.id, *(each.id for each in same))
            if same and ids not in told:
                told.add(ids)
                why = f"asks {question!r}, as others do"
                yield Task(queue="duplicates", fact_id=first.id, why=why, others=ids[1:])
            facts = [each for each in others if each not in same]


def _unsourced(view: View) -> Iterator[Task]:
    for fact in view.of("approved", "proposed", "draft"):
        if not fact.sources:
            yield Task(queue="unsourced", fact_id=fact.id, why="has no source that one could open")


def _expiring(view: View) -> Iterator[Task]:
    followed = {fact.supersedes for fact in view.of("approved", "proposed")}
    for fact in view.of("approved"):
        end = fact.validity.end
        if end is not None and view.now <= end < view.now + SOON and fact.id not in followed:
            why = f"holds until {end:%Y-%m-%d} only"
            yield Task(queue="expiring", fact_id=fact.id, why=why)


def _ambiguous(view: View) -> Iterator[Task]:
    bearers: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)  # name -> subject -> fact
    for fact in (*view.of("approved"), *view.of("proposed")):
        for name in fact.names:
            bearers[fact.scope, normalize(name)].setdefault(normalize(fact.subject), fact.id)
    for (_, name), found in bearers.items():
        if len(found) > 1:
            first, *others = found.values()
            why = f"{name!r} names {len(found)} subjects: {', '.join(sorted(found))}"
            yield Task(queue="ambiguous", fact_id=first, why=why, others=tuple(others))


def _one_sided(view: View) -> Iterator[Task]:
    relations = view.relations
    stated: dict[tuple[str, str, str], list[Fact]] = defaultdict(list)
    approved = [fact for fact in view.of("approved") if fact.slot]
    for fact in approved:
        usual = relations.names(fact.relation)[0]
        for name in fact.names:
            stated[fact.scope, normalize(name), usual].append(fact)
    for fact in approved:
        if not (back := relations.opposite(fact)):
            continue
        mine = {normalize(name) for name in fact.names}
        answers = stated[fact.scope, normalize(fact.target), back[0]]
        if any(
            normalize(each.target) in mine and each.validity.overlaps(fact.validity)
            for each in answers
        ):
            continue
        why = f"no fact says that the {back[0]} of {fact.target} is {fact.subject}"
        others = tuple(each.id for each in answers)
        yield Task(queue="one_sided", fact_id=fact.id, why=why, others=others)


def _untested(view: View) -> Iterator[Task]:
    for fact in view.of("proposed", "draft"):
        if not (fact.must_fire or fact.must_not_fire):
            yield Task(queue="untested", fact_id=fact.id, why="has no test questions")


QUEUES: Final[Mapping[str, Queue]] = {
    "waiting": _waiting,
    "drafts": _drafts,
    "conflicts": _conflicts,
    "duplicates": _duplicates,
    "unsourced": _unsourced,
    "expiring": _expiring,
    "ambiguous": _ambiguous,
    "one_sided": _one_sided,
    "untested": _untested,
}
"""Queues by name: waiting for approval; drafts; against an approved fact; asking what another fact
asks; without sources; ending soon; a name that several subjects bear; of a relation that leads both
ways, stated from one side only; proposed without tests."""
