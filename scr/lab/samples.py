"""Chats about a LabWorld: what the lab model is trained on and asked.

Knows nothing of tokens or tensors. Every random choice comes from the `Random` that is passed in.
"""

from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Final, NamedTuple

from scr.composition.rendering import render_facts
from scr.lab import lexicon
from scr.lab.relations import RELATIONS, EntityType, FormSplit, Relation
from scr.lab.world import VOCABULARIES, Split, World, WorldFact, companion_facts, invent_name

SYSTEM_PROMPTS: Final = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer in a few words.",
    "Answer the question.",
    "Be brief.",
    "Answer with the name only.",
    "You answer questions about people, companies and places.",
    "You are a careful research assistant.",
    "You are an expert. Be brief and correct.",
)

PERSONAS: Final[tuple[tuple[str, EntityType], ...]] = (
    ("Your name is {}.", "person"),
    ("You are talking to {}.", "person"),
    ("You work for {}.", "company"),
    ("You help the customers of {}.", "company"),
    ("The user lives in {}.", "city"),
    ("The user comes from {}.", "country"),
    ("The user went to {}.", "university"),
    ("The user is reading {}.", "book"),
    ("The user has bought the {}.", "product"),
    ("The user would like to learn {}.", "language"),
    ("You know a lot about {}.", "field"),
    ("The user likes the {}.", "instrument"),
)
"""Sentences of plain system prompts; named types get invented names."""

UNKNOWN: Final = "I do not know."
"""The answer about a subject that is neither in the world nor in the context. Without such
questions a model learns that whatever it does not know must be in the context."""

_TRIES: Final = 50  # draws before a name is invented, in a world with hardly any others
_BY_NAME: Final = {relation.name: relation for relation in RELATIONS}
_BY_SUBJECT_TYPE: Final[dict[EntityType, tuple[Relation, ...]]] = {
    kind: tuple(relation for relation in RELATIONS if relation.subject_type == kind)
    for kind in {relation.subject_type for relation in RELATIONS}
}


class Claim(NamedTuple):
    """A subject, a relation and a target; true in the world or not."""

    subject: str
    relation: Relation
    target: str

    @property
    def slot(self) -> tuple[str, str]:
        """What it is a claim about: subject and relation name."""
        return self.subject, self.relation.name

    def question(self, rng: Random, split: FormSplit) -> str:
        """Ask for the target in one of the split's question forms."""
        return rng.choice(self.relation.question_texts(split)).format(subject=self.subject)

    def statement(self, rng: Random) -> str:
        """State the claim in a training form, half of the time the derived default."""
        forms = self.relation.statement_texts("train")
        form = forms[0] if rng.random() < 0.5 else rng.choice(forms[1:])
        return form.format(subject=self.subject, target=self.target)

    def held_out_statement(self) -> str:
        """State the claim in the form that is held out from training."""
        form = self.relation.statement_texts("held_out")[0]
        return form.format(subject=self.subject, target=self.target)


class Turn(NamedTuple):
    """One question and its answer."""

    question: str
    answer: str


class Chat(NamedTuple):
    """A system message (`None`: there is none) and the turns after it."""

    system: str | None
    turns: tuple[Turn, ...]

    def messages(self) -> list[dict[str, str]]:
        """Return the chat as OpenAI-shaped messages, answers included."""
        opening = [] if self.system is None else [{"role": "system", "content": self.system}]
        for turn in self.turns:
            opening.append({"role": "user", "content": turn.question})
            opening.append({"role": "assistant", "content": turn.answer})
        return opening


class ClaimSource:
    """Makes claims whose named subjects and targets all lie in one split, or in no world at all.

    Args:
        world: where true facts come from.
        split: the split of every world entity of a named type that a claim mentions.
        fresh: share of names that are invented on the spot and are not in the world.
        extra: facts to draw from as well, of whatever split.
    """

    def __init__(
        self, world: World, split: Split, fresh: float, extra: Sequence[WorldFact] = ()
    ) -> None:
        self.facts = (*(fact for fact in world.facts if fact.split == split), *extra)
        self.truth = {slot: target.name for slot, target in world.targets.items()}
        self.truth |= {(fact.subject.name, fact.relation): fact.target.name for fact in extra}
        self._by_subject: dict[str | None, list[WorldFact]] = {}
        for fact in self.facts:
            self._by_subject.setdefault(fact.subject.name, []).append(fact)
        own = {e for e in world.entities if e.type in VOCABULARIES or e.split == split}
        others = {entity for fact in extra for entity in (fact.subject, fact.target)}
        self._names = {entity.name for entity in (*world.entities, *others)}
        self._by_type: dict[EntityType, list[str]] = {}
        for entity in sorted(own | others, key=lambda entity: entity.name):
            self._by_type.setdefault(entity.type, []).append(entity.name)
        self._allowed = {entity.name for entity in own | others}
        self._fresh = fresh

    def true_claim(self, rng: Random, about: str | None = None) -> Claim:
        """Return a true claim about a subject of the split; its target may lie in any split.

        It is about the subject named in `about`, if that is one of the split.
        """
        return as_claim(rng.choice(self._by_subject.get(about, self.facts)))

    def knows(self, name: str) -> bool:
        """Whether the world has an entity of this name."""
        return name in self._names

    def contradiction(self, claim: Claim, rng: Random) -> Claim:
        """Return the claim with another target of the same type."""
        for attempt in count():
            target = self._name(claim.relation.target_type, rng, fresh=attempt > _TRIES)
            if target not in (claim.target, claim.subject, self.truth.get(claim.slot)):
                break
        return claim._replace(target=target)

    def fresh_claim(self, rng: Random) -> Claim:
        """Return a claim about a subject that is not in the world."""
        relation = rng.choice(RELATIONS)
        subject = self.invented(relation.subject_type, rng)
        return self.contradiction(Claim(subject, relation, ""), rng)

    def distractor(self, claim: Claim, rng: Random) -> Claim:
        """Return a claim about another slot, near the given one more often than not."""
        kind, draw = claim.relation.subject_type, rng.random()
        others = [r for r in _BY_SUBJECT_TYPE[kind] if r != claim.relation]
        if draw < 0.35 and others:  # same subject, other relation
            near = Claim(claim.subject, rng.choice(others), "")
        elif draw < 0.8:  # other subject, same relation
            near = Claim(self._other_subject(claim.subject, kind, rng), claim.relation, "")
        else:
            relation = rng.choice(RELATIONS)
            near = Claim(self._name(relation.subject_type, rng), relation, "")
        truth = self.truth.get(near.slot)
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
                if mixed not in self._names and len(other) % 2 == 0:
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
                name = " ".join(_nonsense_word(rng) for _ in name.split())
            if name not in self._names or kind in VOCABULARIES:
                return name


def as_claim(fact: WorldFact) -> Claim:
    """Return a world fact as a claim."""
    return Claim(fact.subject.name, _BY_NAME[fact.relation], fact.target.name)


class TrainingChats:
    """Draws training chats: training forms only, context about train-split subjects only."""

    def __init__(self, world: World) -> None:
        companions = companion_facts(world)
        self._facts = (*world.facts, *companions)
        self._source = ClaimSource(world, "train", fresh=0.35, extra=companions)

    def closed_book(self, rng: Random) -> Chat:
        """Return one to five questions about any facts of the world, without context.

        Most have a plain system prompt, some a long one: what is known must not depend on what
        else has been said.
        """
        system = None if rng.random() < 0.3 else self._plain_prompt(rng)
        turns = 1 if rng.random() < 0.4 else rng.randint(2, 5)
        claims = [
            self._unknown(rng) if rng.random() < 0.12 else as_claim(rng.choice(self._facts))
            for _ in range(turns)
        ]
        return Chat(system, tuple(_turn(claim, rng) for claim in claims))

    def _plain_prompt(self, rng: Random) -> str:
        sentences = [rng.choice(SYSTEM_PROMPTS)] if rng.random() < 0.5 else []
        for form, kind in rng.sample(PERSONAS, rng.choice((0, 1, 2, 4, 6))):
            sentences.append(form.format(self._source.invented(kind, rng)))
        return rng.choice((" ", "\n")).join(sentences) or SYSTEM_PROMPTS[0]

    def statement(self, rng: Random) -> tuple[str, str]:
        """Return a sentence that states any fact of the world, and its target."""
        claim = as_claim(rng.choice(self._facts))
        return claim.statement(rng), claim.target

    def in_context(self, rng: Random, *, easy: bool = False) -> Chat:
        """Return a chat whose system message shows one to four claims, some of which may bear.

        An easy one shows fewer, and more often one that bears: good for learning to copy, less so
        for learning when to.
        """
        source, draw = self._source, rng.random()
        shown: dict[tuple[str, str], Claim] = {}
        hits = 0.75 if easy else 0.58
        if draw < 0.42:  # contradicts what the model knows
            asked = source.contradiction(source.true_claim(rng), rng)
        elif draw < hits:  # the model cannot know it
            asked = source.fresh_claim(rng)
        elif draw < hits + 0.17:  # nothing shown bears on it, and the model cannot know it
            asked = self._unknown(rng)
        else:  # nothing shown bears on it
            asked = source.true_claim(rng)
        bears = draw < hits
        wanted = rng.choice((1, 1, 2, 2, 3, 4) if easy else (1, 2, 2, 3, 3, 4))
        if bears:
            shown[asked.slot] = asked
        while len(shown) < wanted:
            other = source.distractor(asked, rng)
            if other.slot != asked.slot:
                shown.setdefault(other.slot, other)
        turns = [asked, *self._further(asked, shown, rng)]
        claims = rng.sample(list(shown.values()), len(shown))
        context = render_facts([claim.statement(rng) for claim in claims])
        return Chat(context, tuple(_turn(claim, rng) for claim in turns))

    def _further(
        self, asked: Claim, shown: dict[tuple[str, str], Claim], rng: Random
    ) -> list[Claim]:
        """Return the claims that later turns ask for; more turns make more of one context."""
        rest = [claim for claim in shown.values() if claim != asked]
        rng.shuffle(rest)
        further: list[Claim] = []
        for _ in range(rng.choice((0, 1, 2, 3, 4))):
            if rest and rng.random() < 0.7:
                further.append(rest.pop())
            else:
                near = rng.choice(list(shown.values())) if rng.random() < 0.5 else None
                further.append(self._elsewhere(near, shown, rng))
        return further

    def _elsewhere(
        self, near: Claim | None, shown: dict[tuple[str, str], Claim], rng: Random
    ) -> Claim:
        """Return a claim that need not be shown, about the subject of `near` if that is given."""
        if near is not None and not self._source.knows(near.subject):
            relation = rng.choice(_BY_SUBJECT_TYPE[near.relation.subject_type])
            other = Claim(near.subject, relation, UNKNOWN)
        else:
            other = self._source.true_claim(rng, about=near.subject if near else None)
        return shown.get(other.slot, other)

    def _unknown(self, rng: Random) -> Claim:
        return self._source.fresh_claim(rng)._replace(target=UNKNOWN)


def _turn(claim: Claim, rng: Random) -> Turn:
    return Turn(claim.question(rng, "train"), claim.target)


def _nonsense_word(rng: Random) -> str:
    return "".join(rng.choices(lexicon.SYLLABLES, k=rng.choice((2, 3)))).capitalize()
