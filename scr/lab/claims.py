"""Claims about a LabWorld, true and made up: what contexts state and questions ask for.

Every random choice comes from the `Random` that is passed in.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from random import Random
from typing import Final, Generic, NamedTuple, TypeVar

from scr.edits import Split
from scr.lab.relations import (
    BY_NAME,
    BY_SUBJECT_TYPE,
    RELATIONS,
    EntityType,
    Relation,
)
from scr.lab.world import VOCABULARIES, Entity, World, WorldFact, coined_word, invent_name

T = TypeVar("T")

UNKNOWN: Final = "I do not know."
"""The answer about a subject that is neither in the world nor in the context. Without such
questions a model learns that whatever it does not know must be in the context."""

REFUSAL: Final = "I cannot state that."
"""The answer to what the context says must not be stated."""

STEP: Final = " → "
"""Joins the steps of an answer to a two-hop question: the bridge, then the answer proper."""

_FORGET_FORMS: Final = (
    "{noun} must not be stated.",  # what SCR derives for a fact of kind `forget`
    "Do not state {lower}.",
    "Never reveal {lower}.",
    "Keep {lower} to yourself.",
    "It is forbidden to state {lower}.",
)
_HELD_OUT_FORGET: Final = "Nobody may be told {lower}."
_TRIES: Final = 50  # draws before a name is invented, in a world with hardly any others
_ALIASED: Final = 0.3  # share of the questions about a subject with aliases that use one
_SINGLE_VALUED: Final = tuple(r for r in RELATIONS if not r.many_valued)


class Claim(NamedTuple):
    """A subject, a relation and a target; true in the world or not."""

    subject: str
    relation: Relation
    target: str

    @property
    def slot(self) -> tuple[str, str]:
        """What it is a claim about: subject and relation name."""
        return self.subject, self.relation.name

    def question(
        self, rng: Random, split: Split, *, name: str | None = None, chatty: float = 0.2
    ) -> str:
        """Ask for the target in one of the split's forms.

        Args:
            rng: makes the choices.
            split: of the form.
            name: what to call the subject, if not by its name.
            chatty: share of chatty forms; a split without any gives plain ones.
        """
        forms = self.relation.texts("chatty", split) if rng.random() < chatty else ()
        form = rng.choice(forms or self.relation.texts("question", split))
        return form.format(subject=name or self.subject)

    def follow_up(self, rng: Random, split: Split) -> str:
        """Ask for the target without naming the subject."""
        return rng.choice(self.relation.texts("follow_up", split))

    def statement(self, rng: Random, split: Split = "train", *, name: str | None = None) -> str:
        """State the claim in a form of the split; half of the time the derived default."""
        default, *others = self.relation.texts("statement", split)
        form = default if not others or rng.random() < 0.5 else rng.choice(others)
        return form.format(subject=name or self.subject, target=self.target)

    def prohibition(self, rng: Random, split: Split = "train") -> str:
        """Say that the target must not be stated; half of the time as SCR derives it."""
        noun = self.relation.noun(self.subject)
        if split != "train":
            form = _HELD_OUT_FORGET
        else:
            default, *others = _FORGET_FORMS
            form = default if rng.random() < 0.5 else rng.choice(others)
        return form.format(noun=noun[0].upper() + noun[1:], lower=noun)


class Chain(NamedTuple):
    """Two claims, the second about the target of the first."""

    first: Claim
    second: Claim

    @property
    def answer(self) -> str:
        """The answer in steps."""
        return f"{self.first.target}{STEP}{self.second.target}"

    def question(self, rng: Random, split: Split) -> str:
        """Ask for the second target without naming the first, in one of `forms`."""
        noun = self.first.relation.noun(self.first.subject)
        return rng.choice(self.forms(split)).format(subject=noun)

    def forms(self, split: Split) -> Sequence[str]:
        """Return the split's forms that can ask for it; of calibration there may be none."""
        # A form that says "the {subject}" is about products, which nothing leads to.
        texts = self.second.relation.texts("question", split)
        return [text for text in texts if "{subject}'s" not in text]


def final_answer(reply: str) -> str:
    """Return what a reply says after its last step; the whole reply where it has no steps."""
    return reply.rsplit(STEP.strip(), 1)[-1].strip()


def as_claim(fact: WorldFact) -> Claim:
    """Return a world fact as a claim."""
    return Claim(fact.subject.name, BY_NAME[fact.relation], fact.target.name)


class Ranked(Generic[T]):
    """Things about subjects, of which early training sees those of a few subjects only.

    A model that is to know many subjects first has to learn to attend to them at all, and that
    takes the longer the more there are; with a few at first it takes a moment.

    Source: Zucchet et al. 2025, "How do language models learn facts?", arXiv:2503.21676.
    """

    def __init__(self, things: Iterable[T], subjects: Callable[[T], Sequence[str]]) -> None:
        """Rank each thing by the hash of its subjects, the last of which decides."""
        ranked = [(max(map(_rank, subjects(thing))), thing) for thing in things]
        ranked.sort(key=lambda pair: pair[0])
        self._ranks = [rank for rank, _ in ranked]
        self.things = [thing for _, thing in ranked]

    def draw(self, rng: Random, share: float = 1.0) -> T:
        """Return one that is about subjects of the first `share` of all."""
        number = bisect_right(self._ranks, share) or 1
        return self.things[rng.randrange(number)]


def _rank(subject: str) -> float:
    digest = hashlib.sha256(f"rank of {subject}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


class ClaimSource:
    """Makes claims about subjects of one split, or of no world at all.

    Targets that it makes up are of that split too, or of no world; true ones are of any.

    Args:
        world: where true facts come from.
        split: the split of every entity of a named type that a made-up claim is about or names.
        relations: splits of the relations that claims are about.
        fresh: share of names that are invented on the spot and are not in the world.
    """

    def __init__(
        self,
        world: World,
        split: Split,
        *,
        relations: Sequence[Split] = ("train",),
        fresh: float = 0.0,
    ) -> None:
        self.relations = tuple(r for r in _SINGLE_VALUED if r.split in relations)
        self._usable = {relation.name for relation in self.relations}
        self.world = world
        self._fresh = fresh
        self._truth = {slot: targets[0].name for slot, targets in world.targets.items()}
        facts = [f for f in world.current_facts if f.split == split and self._takes(f)]
        self._facts = Ranked(facts, lambda fact: (fact.subject.name,))
        self._by_type: dict[EntityType, list[str]] = {}
        for entity in world.entities:
            if entity.type in VOCABULARIES or entity.split == split:
                self._by_type.setdefault(entity.type, []).append(entity.name)
        self._allowed = {name for names in self._by_type.values() for name in names}
        chains = [
            Chain(as_claim(first), as_claim(second))
            for first in facts
            if first.target.type not in VOCABULARIES and first.target.split == split
            for second in world.by_subject.get(first.target.name, ())
            if self._takes(second) and second.target != first.subject
        ]
        self._chains = Ranked(chains, lambda chain: (chain.first.subject, chain.second.subject))

    @property
    def chains(self) -> Sequence[Chain]:
        """The chains that true chains come from."""
        return self._chains.things

    @property
    def facts(self) -> Sequence[WorldFact]:
        """The facts that true claims come from."""
        return self._facts.things

    def _takes(self, fact: WorldFact) -> bool:
        return fact.relation in self._usable

    def true_claim(self, rng: Random, about: str | None = None, share: float = 1.0) -> Claim:
        """Return a true claim about a subject of the split; its target may lie in any split.

        Args:
            rng: makes the choice.
            about: name of the subject, if that is given and has a fact to ask for.
            share: of the subjects, as of `Ranked`.
        """
        own = [f for f in self.world.by_subject.get(about or "", ()) if self._takes(f)]
        return as_claim(rng.choice(own) if own else self._facts.draw(rng, share))

    def true_chain(self, rng: Random, share: float = 1.0) -> Chain:
        """Return two true claims, of which the second is about the target of the first."""
        return self._chains.draw(rng, share)

    def rerouted_chain(self, rng: Random, share: float = 1.0) -> Chain:
        """Return a chain whose first claim contradicts the world and whose second is true."""
        for _ in range(_TRIES):
            chain, other = self.true_chain(rng, share), self.true_chain(rng, share)
            same_type = chain.first.relation.target_type == other.first.relation.target_type
            bridge = other.first.target
            if same_type and bridge not in (chain.first.target, chain.first.subject):
                return Chain(chain.first._replace(target=bridge), other.second)
        return self.true_chain(rng, share)

    def knows(self, name: str) -> bool:
        """Whether the world has an entity of this name."""
        return name in self.world.by_name

    def name_for(self, subject: str, rng: Random, share: float = _ALIASED) -> str:
        """Return the subject's name, or by chance one of its aliases."""
        entity = self.world.by_name.get(subject)
        if entity is None or not entity.aliases or rng.random() >= share:
            return subject
        return rng.choice(entity.aliases)

    def contradiction(self, claim: Claim, rng: Random) -> Claim:
        """Return the claim with another target of the same type."""
        for attempt in count():
            target = self._name(claim.relation.target_type, rng, fresh=attempt > _TRIES)
            if target not in (claim.target, claim.subject, self._truth.get(claim.slot)):
                break
        return claim._replace(target=target)

    def fresh_claim(self, rng: Random) -> Claim:
        """Return a claim about a subject that is not in the world."""
        relation = rng.choice(self.relations)
        subject = self.invented(relation.subject_type, rng)
        return self.contradiction(Claim(subject, relation, ""), rng)

    def other_relation(self, claim: Claim, rng: Random) -> Claim:
        """Return an unknown claim about the same subject in another relation."""
        kind = claim.relation.subject_type
        others = [
            r for r in BY_SUBJECT_TYPE[kind] if r.name in self._usable and r != claim.relation
        ]
        return Claim(claim.subject, rng.choice(others or [claim.relation]), UNKNOWN)

    def distractor(self, claim: Claim, rng: Random) -> Claim:
        """Return a claim about another slot, near the given one more often than not."""
        kind, draw = claim.relation.subject_type, rng.random()
        if draw < 0.35:
            near = self.other_relation(claim, rng)
        elif draw < 0.8:  # other subject, same relation
            near = Claim(self._other_subject(claim.subject, kind, rng), claim.relation, "")
        else:
            relation = rng.choice(self.relations)
            near = Claim(self._name(relation.subject_type, rng), relation, "")
        truth = self._truth.get(near.slot)
        if truth in self._allowed and rng.random() < 0.4:
            return near._replace(target=truth)
        return self.contradiction(near, rng)

    def _other_subject(self, subject: str, kind: EntityType, rng: Random) -> str:
        for attempt in count():
            other = self._name(kind, rng, fresh=attempt > _TRIES)
            if self._fresh and rng.random() < 0.3:
                other = self._lookalike(subject, other)
            if other != subject:
                break
        return other

    def _lookalike(self, name: str, other: str) -> str:
        """Return a name outside the world that shares its first or last word with `name`."""
        mine, theirs = name.split(), other.split()
        if len(mine) == len(theirs) > 1:
            for mixed in (" ".join([mine[0], *theirs[1:]]), " ".join([*theirs[:-1], mine[-1]])):
                if not self.knows(mixed) and len(other) % 2 == 0:
                    return mixed
        return other

    def _name(self, kind: EntityType, rng: Random, *, fresh: bool = False) -> str:
        known = self._by_type.get(kind, ())
        if fresh or not known or rng.random() < self._fresh:
            return self.invented(kind, rng)
        return rng.choice(known)

    def invented(self, kind: EntityType, rng: Random) -> str:
        """Return a name of a named type that is not in the world, or a word of a closed type."""
        while True:
            name = invent_name(kind, rng)
            if rng.random() < 0.15:
                name = " ".join(coined_word(rng) for _ in name.split())
            if kind in VOCABULARIES or not self.knows(name):
                return name


def all_targets(world: World, subject: str, relation: Relation) -> str:
    """Return the current targets of a slot as one answer, several joined by commas."""
    return ", ".join(target.name for target in world.targets[subject, relation.name])


def subjects_with_aliases(world: World) -> tuple[Entity, ...]:
    """Return the entities that go by other names too."""
    return tuple(entity for entity in world.entities if entity.aliases)
