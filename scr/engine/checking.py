"""Test questions: does each fact fire where it must, and what would an approval change?"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from scr.facts import Fact, Revision, normalize
from scr.records import Decision, Record
from scr.store import Relations, Task, distinct

if TYPE_CHECKING:
    from scr.engine.engine import SCR


NEAR_DUPLICATES = "near_duplicates"
"""Name of the queue of facts that the detector takes for others."""


class Checked(Record):
    """A test question of a fact, and what it fired."""

    fact_id: str
    question: str
    must: bool
    """Whether the fact must fire; otherwise it must not."""

    fired: tuple[str, ...]
    """Ids of the facts that fired."""

    probability: float
    """That some fact applies."""

    @property
    def passed(self) -> bool:
        """Whether it is as it must be."""
        return (self.fact_id in self.fired) == self.must


class Difference(Record):
    """A question that is decided otherwise."""

    question: str
    before: tuple[str, ...]
    """Ids of the facts that fire now."""

    after: tuple[str, ...]
    """Ids of those that would."""

    broken: bool
    """Whether a test that passes now would fail; that a successor fires instead is no failure."""


class Preview(Record):
    """What the approval of a fact would change."""

    fact: Fact
    """As it would be approved."""

    closed: tuple[Fact, ...]
    """Facts whose time it would end, as they would be."""

    asked: int
    """Saved questions that were decided on with and without it."""

    differences: tuple[Difference, ...]
    tests: tuple[Checked, ...]
    """The fact's own tests, after the approval."""


def check(knowledge: "SCR", facts: Iterable[Fact]) -> list[Checked]:
    """Return every test question of some facts with what it fires."""
    asked = [(fact, text, must) for fact in facts for text, must in tests_of(fact)]
    decided = _decided(knowledge, [(text, fact.scope) for fact, text, _ in asked])
    return [
        Checked(
            fact_id=fact.id,
            question=text,
            must=must,
            fired=_fired(decision),
            probability=decision.probability,
        )
        for (fact, text, must), decision in zip(asked, decided, strict=True)
    ]


def preview(knowledge: "SCR", hypothetical: "SCR", changed: Sequence[Fact]) -> Preview:
    """Return what changes between an engine and one that has followed an approval.

    Args:
        knowledge: decides as things are.
        hypothetical: decides as they would be.
        changed: the facts that it closes, and last the fact itself.
    """
    closed, fact = changed[:-1], changed[-1]
    saved = [r.fact for r in knowledge.store.list()]
    mine = [*(text for text, _ in tests_of(fact)), *fact.questions]
    asked = list(
        dict.fromkeys(
            [(text, each.scope) for each in saved for text in _questions_of(each)]
            + [(text, fact.scope) for text in mine]
        )
    )
    before, after = _decided(knowledge, asked), _decided(hypothetical, asked)
    succeeded = {each.id for each in closed}
    tested = {(text, f.scope): (f.id, must) for f in saved for text, must in tests_of(f)}
    differences = []
    for question, was, will in zip(asked, before, after, strict=True):
        fired, would = _fired(was), _fired(will)
        if fired != would:
            own, must = tested.get(question, ("", False))
            replaced = own in succeeded and fact.id in would
            broken = bool(own) and (own in fired) == must != (own in would) and not replaced
            differences.append(
                Difference(question=question[0], before=fired, after=would, broken=broken)
            )
    return Preview(
        fact=fact,
        closed=tuple(closed),
        asked=len(asked),
        differences=tuple(differences),
        tests=tuple(check(hypothetical, [fact])),
    )


def near_duplicates(
    knowledge: "SCR", revisions: Sequence[Revision], relations: Relations
) -> list[Task]:
    """Return facts for whose questions another fact is used, that asks in other words.

    Args:
        knowledge: decides on the questions.
        revisions: the facts to look at, approved or not.
        relations: what is declared of relations.
    """
    facts = {revision.fact.id: revision.fact for revision in revisions}
    own = {fact.id: {normalize(text) for text in fact.questions} for fact in facts.values()}
    asked = [(fact, text) for fact in facts.values() for text in fact.questions]
    decided = _decided(knowledge, [(text, fact.scope) for fact, text in asked])
    found: dict[str, dict[str, str]] = {}  # for each fact the others, with the question
    for (fact, text), decision in zip(asked, decided, strict=True):
        for match in decision.matches:
            other = match.fact
            told = match.via or other.id == fact.id or fact.id in found.get(other.id, ())
            alike = own[fact.id] & {normalize(question) for question in other.questions}
            if not (told or alike or distinct(fact, other, relations)):
                found.setdefault(fact.id, {}).setdefault(other.id, text)
    return [
        Task(
            queue=NEAR_DUPLICATES,
            fact_id=fact_id,
            scope=facts[fact_id].scope,
            why=f"asks {next(iter(others.values()))!r}, for which {next(iter(others))} is used",
            others=tuple(others),
        )
        for fact_id, others in found.items()
    ]


def tests_of(fact: Fact) -> Iterator[tuple[str, bool]]:
    """Yield the test questions of a fact, each with whether it must fire."""
    yield from ((text, True) for text in fact.must_fire)
    yield from ((text, False) for text in fact.must_not_fire)


def _questions_of(fact: Fact) -> Iterator[str]:
    yield from (text for text, _ in tests_of(fact))
    yield from fact.questions


def _fired(decision: Decision) -> tuple[str, ...]:
    return tuple(match.fact.id for match in decision.matches)


def _decided(knowledge: "SCR", asked: Sequence[tuple[str, str]]) -> list[Decision]:
    """Decide on questions, those of one scope together."""
    places: dict[str, list[int]] = {}
    for place, (_, scope) in enumerate(asked):
        places.setdefault(scope, []).append(place)
    decided: dict[int, Decision] = {}
    for scope, own in places.items():
        decisions = knowledge.decide_many([asked[place][0] for place in own], scope=scope)
        decided.update(zip(own, decisions, strict=True))
    return [decided[place] for place in range(len(asked))]
