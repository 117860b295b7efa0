"""Made stores and queries for training the detector: no text in them is anyone else's.

A store holds facts about generated subjects over the relations of
`eval/selectivity/relations.yaml`. Its queries ask for stored facts in other words, and as often
for what no fact answers: another relation of the same subject, the same relation of another
subject, the way back, nothing at all.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from scr.facts import Fact, make_fact
from scr.records import Query, Turn

RELATIONS = Path(__file__).parent.parent / "eval/selectivity/relations.yaml"


def _split(text: str) -> tuple[str, ...]:
    """Return the parts of a list written with bars, commas or blanks."""
    mark = next((mark for mark in "|," if mark in text), None)
    return tuple(text.split(mark))


FIRST = _split(
    "Dana Amir Lucía Wei Tomas Priya Ingrid Kofi Mehmet Chloe Ivo Naomi Sven Fatima Georg Yuki "
    "Pilar Omar Hannah Dmitri Aiko Bruno Leila Magnus Rosa Tariq Elena Jakob Mina Oscar Petra "
    "Rafael Simone Viktor Zoe Anders Beatriz Cyrus Delia Emil José Kaito Marta Nils Olga"
)
LAST = _split(
    "Lee Hartmann Okafor Petrov Lindqvist Castellano Nakamura Brandt Moreau Silva Kowalski "
    "Haddad Eriksen Fontaine Gupta Novak O'Brien Ramírez Sørensen Tanaka Ueda Vasquez Whitfield "
    "Yılmaz Zhang Abbott Bergström Carver Dvořák Engel Falk Grieg Holm Iversen Janssen"
)
SYLLABLES = _split(
    "bra cor del fen gal hol jun kel lor mar nor pel quin ros sal tor ul ven wal zan"
)
ENDINGS = _split("ia burg ford ton ville stad mouth berg haven field port dale")
SUFFIXES = _split(
    "Systems,Group,Labs,Industries,Bank,Logistics,Foods,Motors,& Sons,Media,Pharma,Partners"
)
NOUNS = _split("River Harbor Garden Winter Mirror Tower Island Shadow Lantern Orchard Voyage")
ADJECTIVES = _split("Silent Golden Broken Hidden Northern Distant Crimson Last Endless Quiet")
TOPICS = _split(
    "Travel Expense,Parental Leave,Remote Work,Data Retention,Training Budget,Home Office,"
    "Company Car,Sick Leave,Gift,Overtime,Procurement,Password,Visitor,Sabbatical"
)
KINDS_OF_NAMES: Mapping[str, tuple[str, ...]] = {
    "company": SUFFIXES,
    "product": ("Pro", "X", "Mini", "Cloud", "7", "12", "300", "450"),
    "service": ("Api", "Worker", "Gateway", "Scheduler"),
    "building": ("Hall", "Bridge", "Station", "Museum", "Library"),
    "species": ("finch", "oak", "beetle", "orchid", "trout"),
    "university": ("University", "College", "Institute"),
    "team": ("United", "Rovers", "Wanderers", "platform team"),
    "airport": ("Airport",),
}
VALUES: Mapping[str, tuple[str, ...]] = {
    kind: _split(values)
    for kind, values in {
        "industry": "insurance retail shipping mining biotech banking farming",
        "language": "Rust Python Go Kotlin Java Erlang",
        "license": "MIT Apache-2.0 GPL-3.0 proprietary",
        "disease": "asthma,heart failure,migraine,pneumonia,nausea,dizziness,lung cancer",
        "occupation": "carpenter surgeon painter lawyer pilot baker poet",
        "title": "head of sales,senior engineer,all employees,team lead,managers",
        "tongue": "Swedish Tamil Dutch Swahili Korean Basque Polish",
        "religion": "Buddhism Islam Catholicism Judaism Hinduism",
        "sport": "basketball tennis rugby cricket rowing football",
        "position": "goalkeeper linebacker midfielder pitcher striker",
        "instrument": "piano cello guitar flute trumpet",
        "party": "Liberal Party,Green Party,Labour Party,National Union",
        "voice": "soprano baritone tenor mezzo-soprano",
        "genre": "mystery,science fiction,comedy,jazz,horror,thriller",
        "currency": "krone dinar peso franc rupee",
        "continent": "Europe Asia Africa Antarctica",
        "material": "marble steel oak granite glass",
        "family": "Crambidae Rosaceae Felidae Fabaceae",
        "status": "endangered,of least concern,vulnerable,extinct",
        "technology": "PostgreSQL Redis Kafka SQLite",
        "duration": "2 years,6 months,90 days,three years",
        "dose": "500 mg twice a day,10 mg daily,one tablet every 8 hours",
        "hours": "9 am to 5 pm,Monday to Friday,until 10 pm",
        "award": "Hartwell Prize,Order of Merit,Golden Reel,Nordic Medal",
    }.items()
}
NUMBERS: Mapping[str, Callable[[random.Random], str]] = {
    "year": lambda rng: str(rng.randint(1850, 2026)),
    "date": lambda rng: f"{rng.randint(1, 28)} March {rng.randint(1950, 2027)}",
    "number": lambda rng: f"{rng.randint(12, 90_000):,}",
    "money": lambda rng: f"${rng.randint(5, 5_000)}",
    "version": lambda rng: f"{rng.randint(1, 9)}.{rng.randint(0, 20)}",
    "length": lambda rng: f"{rng.randint(12, 400)} m",
    "email": lambda rng: f"{rng.choice(SYLLABLES)}@{rng.choice(SYLLABLES)}.example",
}
UNRELATED = _split(
    "How do I boil an egg?|What is the square root of 144?|Write a poem about autumn.|Hello!|"
    "Translate good morning into French.|Why is the sky blue?|Can you summarize this text for me?|"
    "what is the difference between a virus and a bacterium|Thanks, that helps a lot.|"
    "Fix the bug in this function: def f(x): return x + 1|Who won the world cup in 1998?|"
    "What's the weather like tomorrow?|Tell me a joke.|How many legs does a spider have?|"
    "Give me three ideas for a birthday present.|When did the Second World War end?|"
    "Which planet is closest to the sun?|How do vaccines work?|Recommend a book on economics.|"
    "What is the capital of Australia?|who invented the telephone|Explain recursion to a child.|"
    "how long does it take to fly to the moon|Where do penguins live?|What is a good name for a "
    "cat?|Plan a three-day trip to the mountains.|Is it safe to eat raw fish?|ok|Good night.|"
    "what was the name of the first computer|Who painted the Mona Lisa?|How are you today?"
)
FRAMES = _split(
    "Hi there, quick question: {} Thanks!|I am preparing a report and need one thing. {}|"
    "{} I could not find it anywhere.|Sorry to bother you again. {} It is rather urgent.|"
    "My notes are a mess.\n\n{}\n\nBest, K.|We talked about lunch. Then somebody asked: {}|"
    "The meeting is at nine. {}"
)
WAYS_BACK = _split(
    "What has {1} as its {0}?|Of what is {1} the {0}?|Who or what has the {0} {1}?|"
    "{1} is the {0} of which {2}?|What is known about {1}?|Which {2} has {1}?"
)


class Relation(NamedTuple):
    """A relation with its phrasings; `S` is the subject in them and `T` the target."""

    name: str
    subject: str
    target: str
    ask: tuple[str, ...]
    tell: tuple[str, ...]


class Case(NamedTuple):
    """A query and the ids of the facts that answer it."""

    query: Query
    gold: frozenset[str]
    category: str


class World(NamedTuple):
    """A store with queries for it."""

    facts: list[Fact]
    cases: list[Case]


def load_relations() -> list[Relation]:
    """Return the relations of the file."""
    written = yaml.safe_load(RELATIONS.read_text(encoding="utf-8"))
    return [
        Relation(name, r["subject"], r["target"], tuple(r["ask"]), tuple(r["tell"]))
        for name, r in written.items()
    ]


def make_world(size: int, queries: int, seed: int, relations: Sequence[Relation]) -> World:
    """Return a store of `size` facts and about `queries` queries for it."""
    maker = _Maker(random.Random(seed), relations)
    while len(maker.facts) < size:
        maker.add_subject(min(size - len(maker.facts), maker.rng.choice((1, 1, 2, 4))))
    cases = [maker.case() for _ in range(queries)]
    return World(maker.facts, [case for case in cases if case is not None])


def misspell(name: str, rng: random.Random) -> str:
    """Return the name with one slip of the keyboard: a letter lost, doubled, swapped or wrong."""
    if len(name) < 6:
        return name
    at = rng.randrange(1, len(name) - 2)
    before, letter, after = name[:at], name[at], name[at + 1 :]
    slips = (before, before + letter * 2, before + after[0] + letter, before + rng.choice("aeinst"))
    slip = rng.choice(slips)
    return slip + (after[1:] if slip is slips[2] else after)


class _Maker:
    """Makes facts and queries from one stream of random numbers."""

    def __init__(self, rng: random.Random, relations: Sequence[Relation]) -> None:
        self.rng = rng
        self.relations = {relation.name: relation for relation in relations}
        self.facts: list[Fact] = []
        self.kinds: dict[str, str] = {}  # subject -> its type
        self.held: dict[str, dict[str, Fact]] = {}  # subject -> relation -> fact
        self.makers: Mapping[Callable[[], Case | None], float] = {
            self._asked: 0.46,
            self._other_relation: 0.22,
            self._other_subject: 0.16,
            self._reversed: 0.08,
            self._unrelated: 0.08,
        }

    def add_subject(self, count: int) -> None:
        """Add a subject with up to `count` facts; now and then one that is named much alike."""
        kind = self.rng.choice(list(self.relations.values())).subject
        name = self._name(kind)
        if self.held and self.rng.random() < 0.2:
            like = self.rng.choice(list(self.held))
            name, kind = self._neighbor(like), self.kinds[like]
        if name in self.held:
            return
        fitting = [r for r in self.relations.values() if r.subject == kind]
        self.kinds[name] = kind
        self.held[name] = {}
        for relation in self.rng.sample(fitting, min(count, len(fitting))):
            self.held[name][relation.name] = fact = self._fact(name, relation)
            self.facts.append(fact)

    def case(self) -> Case | None:
        """Return one query, or nothing where the store is too small for its kind."""
        make = self.rng.choices(list(self.makers), list(self.makers.values()))[0]
        return make()

    def _name(self, kind: str) -> str:
        rng = self.rng
        stem = "".join(rng.sample(SYLLABLES, 2)).capitalize()
        if kind == "person":
            return f"{rng.choice(FIRST)} {rng.choice(LAST)}"
        if kind == "company" and rng.random() < 0.15:
            return f"Company {rng.choice('ABCDEKXYZ')}"
        if kind in KINDS_OF_NAMES:
            return f"{stem} {rng.choice(KINDS_OF_NAMES[kind])}"
        if kind in ("work", "series"):
            noun = rng.choice(NOUNS)
            return rng.choice((f"The {rng.choice(ADJECTIVES)} {noun}", f"{noun} of {stem}"))
        if kind == "policy":
            return f"the {rng.choice(TOPICS)} {rng.choice(('Policy', 'Rule', 'Scheme'))}"
        if kind == "drug":
            return stem.lower() + rng.choice(("ol", "ine", "mab", "pril"))
        return stem + rng.choice(ENDINGS)  # cities, countries and the like

    def _value(self, kind: str) -> str:
        if kind in VALUES:
            return self.rng.choice(VALUES[kind])
        return NUMBERS[kind](self.rng) if kind in NUMBERS else self._name(kind)

    def _fact(self, name: str, relation: Relation) -> Fact:
        target = self._value(relation.target)
        fields: dict[str, object] = {"subject": name, "target": target}
        fields["id"] = f"made-{self.rng.getrandbits(60):x}"
        if (aliases := _aliases(name, relation.subject)) and self.rng.random() < 0.4:
            fields["aliases"] = aliases
        form = self.rng.random()
        if form < 0.6:
            fields["relation"] = relation.name
        if form > 0.45:  # else everything is derived, as `scr add` does it
            question = _put(self.rng.choice(relation.ask), name)
            told = _put(self.rng.choice(relation.tell), name, target)
            fields["questions"] = [question]
            fields["statement"] = told if form < 0.75 else f"{question} {target}"
        return make_fact(**fields)

    def _asked(self) -> Case:
        subject = self.rng.choice(list(self.held))
        relation = self.relations[self.rng.choice(list(self.held[subject]))]
        fact = self.held[subject][relation.name]
        said = self.rng.choice(fact.names) if self.rng.random() < 0.4 else subject
        gold = frozenset(
            held[relation.name].id
            for held in self.held.values()
            if relation.name in held and said in held[relation.name].names
        )
        return self._worded(self.rng.choice(relation.ask), said, gold, "asked")

    def _other_relation(self) -> Case | None:
        subject = self.rng.choice(list(self.held))
        fitting = [
            relation
            for relation in self.relations.values()
            if relation.subject == self.kinds[subject] and relation.name not in self.held[subject]
        ]
        if not fitting:
            return None
        template = self.rng.choice(self.rng.choice(fitting).ask)
        return self._worded(template, subject, frozenset(), "other_relation")

    def _other_subject(self) -> Case | None:
        subject = self.rng.choice(list(self.held))
        relation = self.relations[self.rng.choice(list(self.held[subject]))]
        fresh = self._name(self.kinds[subject])
        other = self._neighbor(subject) if self.rng.random() < 0.6 else fresh
        if self._is_known(other):
            return None
        return self._worded(self.rng.choice(relation.ask), other, frozenset(), "other_subject")

    def _reversed(self) -> Case | None:
        held = self.held[self.rng.choice(list(self.held))]
        relation = self.relations[self.rng.choice(list(held))]
        target = held[relation.name].target
        if self._is_known(target):
            return None
        text = self.rng.choice(WAYS_BACK).format(relation.name, target, relation.subject)
        return Case(Query(text=text), frozenset(), "reversed")

    def _unrelated(self) -> Case | None:
        if self.rng.random() < 0.5:
            return Case(Query(text=self.rng.choice(UNRELATED)), frozenset(), "unrelated")
        relation = self.rng.choice(list(self.relations.values()))
        other = self._name(relation.subject)
        if self._is_known(other):
            return None
        return self._worded(self.rng.choice(relation.ask), other, frozenset(), "unrelated")

    def _is_known(self, name: str) -> bool:
        return any(name in fact.names for fact in self.facts)

    def _worded(self, template: str, name: str, gold: frozenset[str], category: str) -> Case:
        form, text = self.rng.random(), _put(template, name)
        if form < 0.5:
            return Case(Query(text=text), gold, category)
        if form < 0.6:
            return Case(Query(text=text.lower()), gold, category)
        if form < 0.75:
            return Case(Query(text=self.rng.choice(FRAMES).format(text)), gold, category)
        if form < 0.87:
            slipped = _put(template, misspell(name, self.rng))
            return Case(Query(text=slipped), gold, category)
        return Case(self._follow_up(template, name), gold, category)

    def _follow_up(self, template: str, name: str) -> Query:
        word = self.rng.choice(("it", "it", "they", "that one", "he", "she"))
        text = re.sub(r"\bS's", "its" if word in ("it", "that one") else "their", template)
        text = re.sub(r"\bS\b", word, text)
        opening = self.rng.choice(
            ("Tell me about {}.", "What do you know about {}?", "I have a question on {}.")
        )
        turns = [Turn(role="user", text=opening.format(name))]
        if self.rng.random() < 0.7:
            turns.append(Turn(role="assistant", text=f"Sure. What about {name}?"))
        return Query(text=text[0].upper() + text[1:], history=tuple(turns))

    def _neighbor(self, name: str) -> str:
        """Return a name that shares words with another one but means something else."""
        words = name.split()
        if len(words) < 2:
            return name + self.rng.choice(("ia", "ville", " North", " II"))
        if digits := re.search(r"\d+", name):
            other = int(digits.group()) + self.rng.randint(1, 9)
            return name.replace(digits.group(), str(other))
        fresh = self._name(self.kinds[name]).split()
        at = self.rng.choice((0, -1))
        words[at] = fresh[at]
        return " ".join(words)


def _aliases(name: str, kind: str) -> tuple[str, ...]:
    words = name.split()
    if kind == "person":
        return (f"{words[0][0]}. {words[-1]}", words[-1])
    if kind in ("company", "product") and len(words) > 1 and words[0] != "Company":
        return (words[0],)
    return ()


def _put(template: str, name: str, target: str = "") -> str:
    """Return the template with the subject and target put in."""
    filled: Mapping[str, str] = {"S": name, "T": target}
    text = re.sub(r"\b[ST]\b", lambda match: filled[match.group()], template)
    return text[0].upper() + text[1:]
