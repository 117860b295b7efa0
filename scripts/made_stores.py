"""Stores and queries made from the written facts, for fitting the detector.

A store holds facts; its queries ask for some in other words, and as often for what no fact of it
answers: a question that a fact only seems to answer, a fact that is not in the store, a subject
that is not, the way back, nothing at all.
"""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from written import Written, composed, slip

from scr.facts import Fact, make_fact
from scr.records import Query, Turn

_UNRELATED = """
How do I boil an egg?
What is the square root of 144?
Write a poem about autumn.
Hello!
Translate good morning into French.
Why is the sky blue?
Can you summarize this text for me?
what is the difference between a virus and a bacterium
Thanks, that helps a lot.
Fix the bug in this function: def f(x): return x + 1
Who won the world cup in 1998?
What's the weather like tomorrow?
Tell me a joke.
How many legs does a spider have?
Give me three ideas for a birthday present.
When did the Second World War end?
Which planet is closest to the sun?
How do vaccines work?
Recommend a book on economics.
What is the capital of Australia?
who invented the telephone
Explain recursion to a child.
how long does it take to fly to the moon
Where do penguins live?
What is a good name for a cat?
Plan a three-day trip to the mountains.
Is it safe to eat raw fish?
ok
Good night.
what was the name of the first computer
Who painted the Mona Lisa?
How are you today?
"""
UNRELATED = tuple(_UNRELATED.strip().splitlines())
_FRAMES = (
    "Hi there, quick question: {} Thanks!",
    "I am preparing a report and need one thing. {}",
    "{} I could not find it anywhere.",
    "Sorry to bother you again. {} It is rather urgent.",
    "My notes are a mess.\n\n{}\n\nBest, K.",
    "We talked about lunch. Then somebody asked: {}",
    "The meeting is at nine. {}",
)
_OPENINGS = ("Tell me about {}.", "What do you know about {}?", "I have a question on {}.")
_POINTERS = ("it", "it", "they", "that one", "he", "she")
_AS_TEXT = 0.15  # of the subjects with several facts, told in one text


class Case(NamedTuple):
    """A query and the ids of the facts that answer it."""

    query: Query
    gold: frozenset[str]
    category: str


class Store(NamedTuple):
    """Facts with queries for them."""

    facts: list[Fact]
    cases: list[Case]


def make_store(
    written: Sequence[Written], askable: Callable[[str], bool], size: int, queries: int, seed: int
) -> Store:
    """Return a store of about `size` facts and about `queries` queries for it.

    Args:
        written: what facts come from.
        askable: of which subjects something may be asked; there must be some.
        size: number of facts; subjects come in with some of their facts at a time.
        queries: number of queries.
        seed: of every choice.
    """
    maker = _Maker(random.Random(seed), written, askable)
    maker.fill(size)
    cases = [maker.case() for _ in range(queries)]
    return Store([fact for fact, _ in maker.held], [case for case in cases if case is not None])


class _Maker:
    """Makes facts and queries from one stream of random numbers."""

    def __init__(
        self, rng: random.Random, written: Sequence[Written], askable: Callable[[str], bool]
    ) -> None:
        self.rng = rng
        self.askable = askable
        self.by_subject: Mapping[str, list[Written]] = defaultdict(list)
        self.subjects_of_type: Mapping[str, set[str]] = defaultdict(set)
        for fact in written:
            self.by_subject[fact.subject].append(fact)
            self.subjects_of_type[fact.type].add(fact.subject)
        self.held: list[tuple[Fact, Written]] = []
        self.names: set[str] = set()  # of every subject in the store
        self.makers: Mapping[Callable[[], Case | None], float] = {
            self._asked: 0.42,
            self._other_relation: 0.26,
            self._other_subject: 0.14,
            self._back: 0.05,
            self._swapped: 0.07,
            self._unrelated: 0.06,
        }

    def fill(self, size: int) -> None:
        """Add facts; the first subject is one to ask about."""
        subjects = self.rng.sample(list(self.by_subject), len(self.by_subject))
        subjects.sort(key=lambda subject: self.askable(subject) and self.rng.random() < 0.5)
        subjects.append(next(s for s in reversed(subjects) if self.askable(s)))
        while subjects and len(self.held) < size:
            own = self.by_subject[subject := subjects.pop()]
            if any(written.subject == subject for _, written in self.held):
                continue
            room = min(len(own), size - len(self.held))
            chosen = self.rng.sample(own, self.rng.randint(1, room))
            if len(own) > 2 and self.rng.random() < _AS_TEXT:
                chosen = [composed(own, self.rng)]
            for written in chosen:
                self.held.append((self._fact(written), written))
            self.names.update({subject, *own[0].aliases})

    def case(self) -> Case | None:
        """Return one query, or nothing where the store has none of its kind."""
        make = self.rng.choices(list(self.makers), list(self.makers.values()))[0]
        return make()

    def _text(self, written: Written) -> Fact:
        form = self.rng.random()
        fields: dict[str, object] = {
            "id": f"made-{self.rng.getrandbits(60):x}",
            "kind": "text",
            "statement": written.statement.replace("{S}", written.subject),
        }
        if form < 0.7 or "{S}" not in written.prompt:  # else only its question tells its subject
            fields |= {"subject": written.subject, "aliases": written.aliases}
        if form > 0.4:
            fields["questions"] = [_put(written.prompt, written.subject, "")]
        return make_fact(**fields)

    def _fact(self, written: Written) -> Fact:
        if written.is_text:
            return self._text(written)
        rng, form = self.rng, self.rng.random()
        fields: dict[str, object] = {"subject": written.subject, "target": written.target}
        fields["id"] = f"made-{rng.getrandbits(60):x}"
        fields["aliases"] = written.aliases
        if form < 0.6:
            fields["relation"] = written.relation
        if form > 0.3:  # else everything is derived, as `scr add` does it
            question = _put(written.prompt, written.subject, written.target)
            told = _put(written.statement, written.subject, written.target)
            fields["questions"] = [question]
            fields["statement"] = told if form < 0.8 else f"{question} {written.target}"
        return make_fact(**fields)

    def _one(self) -> tuple[Fact, Written] | None:
        known = [pair for pair in self.held if self.askable(pair[1].subject)]
        return self.rng.choice(known) if known else None

    def _asked(self) -> Case | None:
        if (one := self._one()) is None:
            return None
        fact, written = one
        names = fact.names or (written.subject,)
        said = self.rng.choice(names) if self.rng.random() < 0.4 else written.subject
        gold = [fact.id]
        gold += [  # another subject of that name, asked for the same
            other.id
            for other, w in self.held
            if w is not written
            and not written.is_text
            and w.relation == written.relation
            and said in other.names
        ]
        question = self.rng.choice((written.prompt, *written.asks, *written.asks))
        return self._worded(question, said, written, frozenset(gold), "asked")

    def _other_relation(self) -> Case | None:
        if (one := self._one()) is None:
            return None
        _, written = one
        absent = [
            other
            for other in self.by_subject[written.subject]
            if not written.is_text and all(w is not other for _, w in self.held)
        ]
        if absent and self.rng.random() < 0.4:
            question = self.rng.choice((other := self.rng.choice(absent)).asks)
            written = other
        else:
            question = self.rng.choice(written.others)
        return self._worded(question, written.subject, written, frozenset(), "other_relation")

    def _other_subject(self) -> Case | None:
        if (one := self._one()) is None:
            return None
        _, written = one
        likes = sorted(self.subjects_of_type[written.type])
        neighbor = self._neighbor(written.subject, self.rng.choice(likes))
        other = neighbor if self.rng.random() < 0.6 else self.rng.choice(likes)
        if other in self.names:
            return None
        question = self.rng.choice((written.prompt, *written.asks))
        return self._worded(question, other, written, frozenset(), "other_subject")

    def _back(self) -> Case | None:
        if (one := self._one()) is None or not one[1].back:
            return None
        _, written = one
        gold = frozenset(
            fact.id
            for fact, w in self.held
            if (w.relation, w.target) == (written.relation, written.target)
        )
        text = _put(self.rng.choice(written.back), "", written.target)
        return Case(Query(text=text), gold, "back")

    def _swapped(self) -> Case | None:
        if (one := self._one()) is None or not one[1].swapped:
            return None
        written = one[1]
        question = self.rng.choice(written.swapped)
        return self._worded(question, written.subject, written, frozenset(), "swapped")

    def _unrelated(self) -> Case | None:
        if self.rng.random() < 0.4:
            return Case(Query(text=self.rng.choice(UNRELATED)), frozenset(), "unrelated")
        subject = self.rng.choice(list(self.by_subject))
        if subject in self.names or not self.askable(subject):
            return None
        written = self.rng.choice(self.by_subject[subject])
        return self._worded(
            self.rng.choice(written.asks), subject, written, frozenset(), "unrelated"
        )

    def _worded(
        self, template: str, name: str, written: Written, gold: frozenset[str], category: str
    ) -> Case:
        form, text = self.rng.random(), _put(template, name, written.target)
        if form < 0.5 or "{S}" not in template:
            return Case(Query(text=text), gold, category)
        if form < 0.58:
            return Case(Query(text=text.lower()), gold, category)
        if form < 0.72:
            return Case(Query(text=self.rng.choice(_FRAMES).format(text)), gold, category)
        if form < 0.87:
            slipped = _put(template, slip(name, self.rng, shortest=6), written.target)
            return Case(Query(text=slipped), gold, category)
        return Case(self._follow_up(template, name, written), gold, category)

    def _follow_up(self, template: str, name: str, written: Written) -> Query:
        word = self.rng.choice(_POINTERS)
        text = template.replace("{S}'s", "its" if word in ("it", "that one") else "their")
        text = _put(text, word, written.target)
        turns = []
        if self.rng.random() < 0.3:  # something else before
            before = self.rng.choice(list(self.by_subject))
            turns.append(Turn(role="user", text=self.rng.choice(_OPENINGS).format(before)))
        turns.append(Turn(role="user", text=self.rng.choice(_OPENINGS).format(name)))
        if self.rng.random() < 0.7:
            turns.append(Turn(role="assistant", text=f"Sure. What about {name}?"))
        return Query(text=text, history=tuple(turns))

    def _neighbor(self, name: str, like: str) -> str:
        """Return a name that shares words with another one but means something else."""
        words = name.split()
        if digits := re.search(r"\d+", name):
            other = int(digits.group()) + self.rng.randint(1, 9)
            return name.replace(digits.group(), str(other))
        if len(words) < 2:
            return name + self.rng.choice((" Plus", " North", " II", "-Next"))
        at = self.rng.choice((0, -1))
        words[at] = like.split()[at]
        return " ".join(words)


def _put(template: str, name: str, target: str) -> str:
    """Return the template with the subject and target put in."""
    text = template.replace("{S}", name).replace("{T}", target)
    return text[0].upper() + text[1:]
