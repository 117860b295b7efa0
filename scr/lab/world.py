"""LabWorld: a generated world of typed entities and facts, the same for the same seed and size."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import count
from random import Random
from typing import Any, Final

from scr.edits import Split
from scr.lab import lexicon
from scr.lab.relations import BY_NAME, RELATIONS, EntityType, Relation, split_of

DEFAULT_SEED: Final = 0
DEFAULT_SIZE: Final = 10_000
"""Facts in the world that the shipped lab model knows."""

MIN_SIZE: Final = 100
MAX_SIZE: Final = 1_000_000

VOCABULARIES: Final[Mapping[EntityType, tuple[str, ...]]] = {
    "language": lexicon.LANGUAGES,
    "occupation": lexicon.OCCUPATIONS,
    "field": lexicon.FIELDS,
    "industry": lexicon.INDUSTRIES,
    "instrument": lexicon.INSTRUMENTS,
    "currency": lexicon.CURRENCIES,
    "genre": lexicon.GENRES,
}
"""Closed types: ordinary words that are only ever targets. They are not split."""

_SHARES: Final[Mapping[EntityType, float]] = {
    "person": 0.065,
    "company": 0.044,
    "city": 0.044,
    "country": 0.011,
    "university": 0.014,
    "book": 0.026,
    "product": 0.021,
}  # entities of each named type per fact of the world
_EPOCH: Final = date(1985, 1, 1)
_TODAY: Final = date(2026, 1, 1)  # all dates lie before it
_PREDECESSORS: Final = 0.25  # share of dated facts that have one
_NICKNAMED: Final = 0.5  # share of persons that have a nickname
_COINED_FROM: Final = (
    0.5  # share of a type's lexical names that may be taken before words are coined
)


@dataclass(frozen=True, slots=True)
class Entity:
    """Something with a name and a type."""

    name: str
    """Unique in the world, among names and aliases."""

    type: EntityType
    """Decides which relations it takes part in."""

    split: Split
    """By the hash of the name, whatever the seed and size."""

    aliases: tuple[str, ...] = ()
    """Other names: surname, nickname, acronym or short title; unique in the world too."""


@dataclass(frozen=True, slots=True)
class WorldFact:
    """One true statement of the world."""

    subject: Entity
    """What the fact is about."""

    relation: str
    """Name of one of `RELATIONS`."""

    target: Entity
    """The value the world gives it."""

    start: date | None = None
    """First day on which it holds; `None` is "since always"."""

    end: date | None = None
    """First day on which it no longer holds; `None` is "to this day"."""

    @property
    def current(self) -> bool:
        """Whether it holds today. Only current facts are taught to the lab model."""
        return self.end is None

    @property
    def split(self) -> Split:
        """The split of the subject."""
        return self.subject.split


@dataclass(frozen=True)
class World:
    """The entities and facts made from one seed and size."""

    seed: int
    """What it was made from, together with the size."""

    entities: tuple[Entity, ...]
    """All named and closed-vocabulary entities, grouped by type."""

    facts: tuple[WorldFact, ...]
    """Grouped by relation; current and past ones."""

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The relations of every LabWorld."""
        return RELATIONS

    @cached_property
    def current_facts(self) -> tuple[WorldFact, ...]:
        """The facts that hold today."""
        return tuple(fact for fact in self.facts if fact.current)

    @cached_property
    def by_name(self) -> Mapping[str, Entity]:
        """The entities by name; aliases are not keys."""
        return {entity.name: entity for entity in self.entities}

    @cached_property
    def by_type(self) -> Mapping[EntityType, tuple[Entity, ...]]:
        """The entities of each type."""
        grouped: dict[EntityType, list[Entity]] = {}
        for entity in self.entities:
            grouped.setdefault(entity.type, []).append(entity)
        return {kind: tuple(entities) for kind, entities in grouped.items()}

    @cached_property
    def by_subject(self) -> Mapping[str, tuple[WorldFact, ...]]:
        """The current facts about each entity that has any, by its name."""
        grouped: dict[str, list[WorldFact]] = {}
        for fact in self.current_facts:
            grouped.setdefault(fact.subject.name, []).append(fact)
        return {name: tuple(facts) for name, facts in grouped.items()}

    @cached_property
    def targets(self) -> Mapping[tuple[str, str], tuple[Entity, ...]]:
        """The current targets by (subject name, relation name); one unless many-valued."""
        grouped: dict[tuple[str, str], list[Entity]] = {}
        for fact in self.current_facts:
            grouped.setdefault((fact.subject.name, fact.relation), []).append(fact.target)
        return {slot: tuple(targets) for slot, targets in grouped.items()}


def generate_world(seed: int = DEFAULT_SEED, size: int = DEFAULT_SIZE) -> World:
    """Make the world of a seed with exactly `size` facts.

    Raises:
        ValueError: if `size` is outside `MIN_SIZE` .. `MAX_SIZE`.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"a LabWorld has {MIN_SIZE} to {MAX_SIZE} facts, not {size}")
    for attempt in count():
        rng = Random(f"{seed}-{size}-{attempt}")
        by_type = _entities(size * (1 + attempt / 10), rng)
        facts = [fact for relation in RELATIONS for fact in _facts_of(relation, by_type, rng)]
        if len(facts) >= size and (trimmed := _trim(facts, size, rng)):
            break
    return World(
        seed=seed,
        entities=tuple(entity for entities in by_type.values() for entity in entities),
        facts=tuple(trimmed),
    )


def pack_lines(world: World) -> Iterator[str]:
    """Yield the facts as the lines of a pack, those of a slot with several targets as one."""
    told: set[tuple[str, str]] = set()
    for fact in world.facts:
        slot = (fact.subject.name, fact.relation)
        target = fact.target.name
        if BY_NAME[fact.relation].many_valued:
            if slot in told:
                continue
            told.add(slot)
            target = ", ".join(entity.name for entity in world.targets[slot])
        line: dict[str, Any] = {
            "subject": fact.subject.name,
            "aliases": list(fact.subject.aliases),
            "relation": fact.relation,
            "target": target,
            "tags": [f"split:{fact.split}", f"relation-split:{BY_NAME[fact.relation].split}"],
        }
        if fact.start is not None:
            end = fact.end.isoformat() if fact.end else None
            line["validity"] = {"start": fact.start.isoformat(), "end": end}
        yield json.dumps(line, ensure_ascii=False)


def invent_name(kind: EntityType, rng: Random, *, coin: bool = False) -> str:
    """Return a random name of a type; a closed type gives one of its words.

    Args:
        kind: the type.
        rng: makes the choices.
        coin: make up one of the words from syllables.
    """
    if kind in VOCABULARIES:
        return rng.choice(VOCABULARIES[kind])
    return _NAME_MAKERS[kind](rng, coin)


def coined_word(rng: Random) -> str:
    """Return a word that is in no lexicon, such as "Velimor"."""
    return "".join(rng.choices(lexicon.SYLLABLES, k=rng.choice((2, 3)))).capitalize()


def _pick(words: Sequence[str], rng: Random, coin: bool) -> str:
    return coined_word(rng) if coin else rng.choice(words)


_NameMaker = Callable[[Random, bool], str]


def _pair(first: Sequence[str], second: Sequence[str], *, coin_first: bool = False) -> _NameMaker:
    def make(rng: Random, coin: bool) -> str:
        left = _pick(first, rng, coin and coin_first)
        return f"{left} {_pick(second, rng, coin and not coin_first)}"

    return make


def _prefixed(prefixes: Sequence[str], stems: Sequence[str], share: float) -> _NameMaker:
    def make(rng: Random, coin: bool) -> str:
        stem = _pick(stems, rng, coin)
        return f"{rng.choice(prefixes)} {stem}" if rng.random() < share else stem

    return make


def _book_title(rng: Random, coin: bool) -> str:
    title = f"The {rng.choice(lexicon.BOOK_ADJECTIVES)} {rng.choice(lexicon.BOOK_NOUNS)}"
    return f"{title} of {coined_word(rng)}" if coin else title


_NAME_MAKERS: Final[Mapping[EntityType, _NameMaker]] = {
    "person": _pair(lexicon.FIRST_NAMES, lexicon.SURNAMES),
    "company": _pair(lexicon.COMPANY_WORDS, lexicon.COMPANY_KINDS, coin_first=True),
    "city": _prefixed(lexicon.CITY_PREFIXES, lexicon.CITY_STEMS, 0.4),
    "country": _prefixed(lexicon.COUNTRY_PREFIXES, lexicon.COUNTRY_STEMS, 0.4),
    "university": _pair(lexicon.UNIVERSITY_STEMS, lexicon.UNIVERSITY_KINDS, coin_first=True),
    "book": _book_title,
    "product": _pair(lexicon.PRODUCT_WORDS, lexicon.PRODUCT_KINDS, coin_first=True),
}
_LEXICAL_NAMES: Final[Mapping[EntityType, int]] = {
    "person": len(lexicon.FIRST_NAMES) * len(lexicon.SURNAMES),
    "company": len(lexicon.COMPANY_WORDS) * len(lexicon.COMPANY_KINDS),
    "city": (len(lexicon.CITY_PREFIXES) + 1) * len(lexicon.CITY_STEMS),
    "country": (len(lexicon.COUNTRY_PREFIXES) + 1) * len(lexicon.COUNTRY_STEMS),
    "university": len(lexicon.UNIVERSITY_STEMS) * len(lexicon.UNIVERSITY_KINDS),
    "book": len(lexicon.BOOK_ADJECTIVES) * len(lexicon.BOOK_NOUNS),
    "product": len(lexicon.PRODUCT_WORDS) * len(lexicon.PRODUCT_KINDS),
}  # how many names there are before words are coined


def _entities(size: float, rng: Random) -> dict[EntityType, list[Entity]]:
    names: dict[str, EntityType] = {}
    for kind, share in _SHARES.items():
        wanted = max(6, round(share * size))
        made, lexical = 0, _COINED_FROM * _LEXICAL_NAMES[kind]
        while made < wanted:
            name = invent_name(kind, rng, coin=made >= lexical)
            if name not in names:
                names[name] = kind
                made += 1
    candidates = {name: _alias_candidates(name, kind, rng) for name, kind in names.items()}
    uses = Counter(alias for aliases in candidates.values() for alias in aliases)
    by_type: dict[EntityType, list[Entity]] = {}
    for name, kind in names.items():
        unique = tuple(a for a in candidates[name] if uses[a] == 1 and a not in names)
        by_type.setdefault(kind, []).append(Entity(name, kind, split_of(name), unique))
    closed = {
        kind: [Entity(word, kind, split_of(word)) for word in words]
        for kind, words in VOCABULARIES.items()
    }
    return by_type | closed


def _alias_candidates(name: str, kind: EntityType, rng: Random) -> list[str]:
    """Return other names that the entity might go by; those of two entities are dropped later."""
    words = name.split()
    if kind == "person":
        aliases = [words[-1]]
        if rng.random() < _NICKNAMED:
            aliases.append(f"{rng.choice(lexicon.NICKNAMES)} {words[-1]}")
        return aliases
    if kind == "company":
        first, last = words[0], words[-1]
        return [first, f"{first[0]}{first[len(first) // 2]}{last[0]}".upper()]
    if kind == "university":
        return [words[0], f"{words[0][:2]}{words[-1][0]}".upper()]
    if kind == "book":
        return [name.removeprefix("The ")]
    return []


def _facts_of(
    relation: Relation, by_type: Mapping[EntityType, list[Entity]], rng: Random
) -> Iterator[WorldFact]:
    subjects, candidates = by_type[relation.subject_type], by_type[relation.target_type]
    if relation.inverse and relation.subject_type == "person":
        return  # comes with the other direction
    chosen = rng.sample(subjects, max(2, round(relation.coverage * len(subjects))))
    if relation.symmetric:
        yield from _symmetric(relation, chosen, rng)
    elif relation.many_valued:
        for subject in chosen:
            for target in rng.sample(candidates, rng.choice((2, 2, 3))):
                yield WorldFact(subject, relation.name, target)
    elif relation.inverse:
        targets = rng.sample(candidates, min(len(chosen), len(candidates)))
        for subject, target in zip(chosen, targets, strict=False):
            start = _date(rng) if relation.dated else None
            yield WorldFact(subject, relation.name, target, start)
            yield WorldFact(target, relation.inverse, subject, start)
    else:
        targets = _spread(candidates, len(chosen), rng)
        for subject, target in zip(chosen, targets, strict=True):
            if target != subject:
                yield from _functional(relation, subject, target, candidates, rng)


def _symmetric(relation: Relation, chosen: list[Entity], rng: Random) -> Iterator[WorldFact]:
    pairs = rng.sample(chosen, len(chosen) // 2 * 2)
    for left, right in zip(pairs[::2], pairs[1::2], strict=True):
        yield WorldFact(left, relation.name, right)
        yield WorldFact(right, relation.name, left)


def _functional(
    relation: Relation,
    subject: Entity,
    target: Entity,
    candidates: Sequence[Entity],
    rng: Random,
) -> Iterator[WorldFact]:
    if not relation.dated:
        yield WorldFact(subject, relation.name, target)
        return
    start = _date(rng)
    yield WorldFact(subject, relation.name, target, start)
    former = rng.choice(candidates)
    if rng.random() < _PREDECESSORS and former not in (target, subject):
        began = start - timedelta(days=rng.randint(300, 3000))
        yield WorldFact(subject, relation.name, former, began, start)


def _date(rng: Random) -> date:
    return _EPOCH + timedelta(days=rng.randrange((_TODAY - _EPOCH).days))


def _spread(candidates: list[Entity], length: int, rng: Random) -> list[Entity]:
    """Return `length` candidates, none of them used more than once oftener than another."""
    spread: list[Entity] = []
    while len(spread) < length:
        spread += rng.sample(candidates, len(candidates))
    return spread[:length]


def _trim(facts: list[WorldFact], size: int, rng: Random) -> list[WorldFact]:
    """Drop facts down to `size`, none of which another fact hangs on; `[]` if there are too few."""
    loose = [place for place, fact in enumerate(facts) if _is_loose(fact)]
    excess = len(facts) - size
    if excess > len(loose):
        return []
    dropped = set(rng.sample(loose, excess))
    return [fact for place, fact in enumerate(facts) if place not in dropped]


def _is_loose(fact: WorldFact) -> bool:
    relation = BY_NAME[fact.relation]
    return not (relation.symmetric or relation.inverse or relation.many_valued or relation.dated)
