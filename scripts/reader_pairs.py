"""Pairs of a question and a fact for training the reader, made from facts written by hand.

The facts of `eval/reader` come with questions that they answer and questions that they only seem
to; the relations of `eval/selectivity/relations.yaml` and of LabWorld add phrasings. In both texts
the subject is masked, as retrieval masks it.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from made_stores import UNRELATED
from phrasings import Relation, load_relations
from written import Written, slip

from scr.lab.relations import RELATIONS as LAB_RELATIONS
from scr.retrieval.names import MASK

_LONGER_NAMES: Final = (
    "{} Pro", "{} 2", "{} Plus", "New {}", "the {} Foundation", "{} Junior", "{} County",
    "Saint {}", "{}'s cousin", "{}'s successor", "{}'s wife", "the {} Museum", "{} II",
    "{} North", "Mini {}",
    "the makers of {}", "the father of {}", "the capital of {}", "{} FC", "{} University",
)  # fmt: skip
_HOPS: Final = 0.25  # of the facts are also asked for over a bridge
_OPENINGS: Final = (
    "Hi,", "Quick question:", "Hello there!", "I could not find this anywhere.", "Good morning.",
    "We argued about this at lunch.", "I need it for a slide.", "My notes are a mess.",
    "Please help me with one thing.", "I am writing a report.", "Sorry to bother you again.",
)  # fmt: skip
_CLOSINGS: Final = (
    "Thanks!", "Can you settle it?", "It is rather urgent.", "Best, K.", "I keep forgetting.",
    "Two sources disagree.", "Just the short answer, please.", "Any idea?", "(for a quiz)",
)  # fmt: skip


_BRIDGES: Final[Mapping[str, tuple[str, ...]]] = {
    "spouse": ("husband", "wife", "partner"),
    "chief executive officer": ("CEO", "boss", "head"),
    "founder": ("creator", "person who started it all at"),
    "owner": ("proprietor", "company that owns"),
    "capital": ("seat of government", "capital city"),
    "author": ("writer", "person who wrote"),
    "director": ("filmmaker behind",),
    "manufacturer": ("maker", "company that makes"),
    "employer": ("company that employs", "workplace"),
    "parent company": ("group behind", "owner"),
    "mother": ("mum",),
    "father": ("dad",),
    "successor": ("person who followed",),
    "publisher": ("publishing house of",),
    "manager": ("superior", "line manager"),
    "headquarters": ("home city", "seat"),
    "supplier": ("vendor",),
    "country": ("nation",),
    "team lead": ("head",),
    "doctoral advisor": ("PhD supervisor",),
}
"""Relations that lead on to another subject, with other words for them."""


class Pair(NamedTuple):
    """A question with a fact, both masked."""

    asked: str
    told: str
    answers: bool
    """Whether the fact answers the question."""


class PairMaker:
    """Draws the pairs of an epoch: every question once, with fresh company and wording."""

    def __init__(self, facts: Sequence[Written]) -> None:
        """Take the facts that pairs are about."""
        self.facts = list(facts)
        self._siblings: dict[str, list[Written]] = defaultdict(list)
        self._of_type: dict[str, list[Written]] = defaultdict(list)
        for fact in facts:
            self._siblings[fact.subject].append(fact)
            self._of_type[fact.type].append(fact)

    def epoch(self, rng: random.Random) -> Iterator[Pair]:
        """Yield the pairs of one epoch, in no particular order."""
        for fact in self.facts:
            yield from self._about(fact, rng)

    def _about(self, fact: Written, rng: random.Random) -> Iterator[Pair]:
        siblings = [other for other in self._siblings[fact.subject] if other is not fact]
        for question in (fact.prompt, *fact.asks):
            yield Pair(self._worded(question, fact, rng), told(fact, rng), True)
        for question in fact.back:
            yield Pair(fill(question, fact), told(fact, rng), True)
        for question in (*fact.others, *fact.swapped):
            yield Pair(self._worded(question, fact, rng), told(fact, rng), False)
        for other in siblings:
            near = rng.choice((other.prompt, *other.asks))
            yield Pair(self._worded(near, fact, rng), told(fact, rng), False)
        if siblings:
            other = rng.choice(siblings)
            yield Pair(self._worded(rng.choice(fact.others), fact, rng), told(other, rng), False)
        if len(siblings) > 1:
            yield from self._in_a_text(fact, siblings, rng)
        yield from self._about_another(fact, rng)
        if rng.random() < _HOPS:
            yield from self._over_a_bridge(fact, rng)

    def _in_a_text(
        self, fact: Written, siblings: Sequence[Written], rng: random.Random
    ) -> Iterator[Pair]:
        """Yield pairs with a passage that tells several facts."""
        shown = rng.sample([fact, *rng.sample(siblings, min(len(siblings), 3))], 3)
        passage = " ".join(fill(each.statement, each) for each in shown)
        title = rng.choice((fill(shown[0].prompt, fact), f"What should I know about {MASK}?"))
        left_out = [other for other in siblings if other not in shown]
        one = rng.choice(shown)
        yield Pair(self._worded(rng.choice(one.asks), one, rng), f"{title} {passage}", True)
        if left_out and rng.random() < 0.5:
            other = rng.choice(left_out)
            yield Pair(
                self._worded(rng.choice(other.asks), other, rng), f"{title} {passage}", False
            )
        else:
            missing = rng.choice(one.others)
            yield Pair(self._worded(missing, one, rng), f"{title} {passage}", False)

    def _about_another(self, fact: Written, rng: random.Random) -> Iterator[Pair]:
        """Yield pairs whose question names another subject, or a longer name, or nothing."""
        likes = [other for other in self._of_type[fact.type] if other.subject != fact.subject]
        if likes:
            other = rng.choice(likes)
            question = rng.choice((fact.prompt, *fact.asks)).replace("{S}", other.subject)
            yield Pair(question.replace("{T}", fact.target), told(fact, rng), False)
            if other.relation != fact.relation:
                strange = rng.choice((other.prompt, *other.others))
                yield Pair(self._worded(strange, fact, rng), told(fact, rng), False)
        longer = rng.choice(_LONGER_NAMES).format(MASK)
        question = rng.choice((fact.prompt, *fact.asks)).replace("{S}", longer)
        yield Pair(question.replace("{T}", fact.target), told(fact, rng), False)
        if rng.random() < 0.3:
            yield Pair(rng.choice(UNRELATED), told(fact, rng), False)

    def _over_a_bridge(self, fact: Written, rng: random.Random) -> Iterator[Pair]:
        """Yield pairs about the subject of the subject: "the employer of the spouse of …"."""
        bridge, other = rng.sample(list(_BRIDGES), 2)
        words = rng.choice((bridge, *_BRIDGES[bridge]))
        noun = words if words.endswith((" of", " at", " behind")) else f"{words} of"
        if " that " in words or " who " in words:
            noun = words
        named = f"the {noun} {MASK}"
        if noun.endswith(" of") and rng.random() < 0.4:
            named = f"{MASK}'s {noun.removesuffix(' of')}"
        question = rng.choice((fact.prompt, *fact.asks))
        asked = question.replace("{S}", named).replace("{T}", fact.target)
        yield Pair(asked, _chained(fact, bridge, rng), True)
        yield Pair(asked, _chained(fact, other, rng), False)
        yield Pair(asked, told(fact, rng), False)
        yield Pair(self._worded(question, fact, rng), _chained(fact, bridge, rng), False)
        near = rng.choice(fact.others).replace("{S}", named).replace("{T}", fact.target)
        yield Pair(near, _chained(fact, bridge, rng), False)

    def _worded(self, question: str, fact: Written, rng: random.Random) -> str:
        """Return a question as somebody may put it: plain, misspelled, or within a message."""
        text = fill(question, fact)
        form = rng.random()
        if form < 0.1:
            text = slip(text, rng)
        elif form < 0.16:
            text = text.rstrip("?.")
        if rng.random() < 0.75:
            return text
        before, after = rng.choice((*_OPENINGS, "", "")), rng.choice((*_CLOSINGS, "", ""))
        if rng.random() < 0.4:  # a sentence about something else
            strange = rng.choice(self.facts)
            before = strange.statement.format(S=strange.subject, T=strange.target)
        return f"{before} {text} {after}".strip()


def _chained(fact: Written, bridge: str, rng: random.Random) -> str:
    """Return what a fact tells of the subject that a bridge leads from."""
    return re.sub(rf"\b{MASK}\b", f"the {bridge} of {MASK}", told(fact, rng))


def told(fact: Written, rng: random.Random) -> str:
    """Return a fact as its key and passage tell it, in one of the ways facts are entered."""
    form = rng.random()
    asks = fill(fact.prompt, fact)
    says = fill(fact.statement, fact)
    if form < 0.45:
        return f"{asks} {says}"
    if form < 0.6:  # as `scr add` derives them
        derived = f"The {fact.relation} of {MASK} is {fact.target}."
        return f"What is the {fact.relation} of {MASK}? {derived}"
    if form < 0.7:
        return f"{asks} The {fact.relation} of {MASK} is {fact.target}."
    if form < 0.85:
        return f"{asks} {asks} {fact.target}"
    return f"What is the {fact.relation} of {MASK}? {says}"


def fill(template: str, fact: Written) -> str:
    """Return a template with the subject masked and the target put in."""
    return template.replace("{S}", MASK).replace("{T}", fact.target)


class RelationPairs:
    """Draws pairs from phrasings of relations; those of one subject type are told apart."""

    def __init__(self) -> None:
        """Read the relations of the file and of LabWorld."""
        own = [*load_relations(), *_lab_relations()]
        self._relations = [relation for relation in own if len(relation.ask) > 1]
        self._of_type: Mapping[str, list[Relation]] = defaultdict(list)
        for relation in self._relations:
            self._of_type[relation.subject].append(relation)

    def epoch(self, rng: random.Random) -> Iterator[Pair]:
        """Yield every phrasing with another one of its relation, and with another relation's."""
        names = ("Dana Lee", "Norburg", "Corsal Group", "1987", "Veltorland", "Elena Novak")
        for relation in self._relations:
            for number, asked in enumerate(relation.ask):
                rest = [*relation.ask[:number], *relation.ask[number + 1 :]]
                target = rng.choice(names)
                key = _masked(rng.choice(rest), target)
                says = _masked(rng.choice(relation.tell), target) if relation.tell else target
                yield Pair(_masked(asked, target), f"{key} {says}", True)
                others = [r for r in self._of_type[relation.subject] if r.name != relation.name]
                for other in rng.sample(others, min(2, len(others))):
                    key = _masked(rng.choice(other.ask), target)
                    says = _masked(rng.choice(other.tell), target) if other.tell else target
                    yield Pair(_masked(asked, target), f"{key} {says}", False)


def _lab_relations() -> list[Relation]:
    """Return LabWorld's relations with their training forms."""
    return [
        Relation(
            f"lab {r.name}",
            f"lab {r.subject_type}",
            r.target_type,
            tuple(f.format(subject="S") for f in r.texts("question", "train")),
            tuple(f.format(subject="S", target="T") for f in r.texts("statement", "train")),
        )
        for r in LAB_RELATIONS
    ]


def _masked(template: str, target: str) -> str:
    filled = {"S": MASK, "T": target}
    return re.sub(r"\b[ST]\b", lambda match: filled[match.group()], template)
