"""LabWorld: a generated world of typed entities and facts, the same for the same seed and size."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import count
from random import Random
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from scr.lab import lexicon
from scr.lab.relations import RELATIONS, EntityType, Relation

Split = Literal["train", "calibration", "test"]

DEFAULT_SEED: Final = 0
DEFAULT_SIZE: Final = 2200
"""Facts in the world that the shipped lab model knows."""

MIN_SIZE: Final = 100
MAX_SIZE: Final = 8_000
"""Beyond it, the lexicon runs out of names."""

VOCABULARIES: Final[Mapping[EntityType, tuple[str, ...]]] = {
    "language": lexicon.LANGUAGES,
    "occupation": lexicon.OCCUPATIONS,
    "field": lexicon.FIELDS,
    "industry": lexicon.INDUSTRIES,
    "instrument": lexicon.INSTRUMENTS,
}
"""Closed types: ordinary words that are only ever targets. They are not split."""

_SHARES: Final[Mapping[EntityType, float]] = {
    "person": 0.077,
    "company": 0.053,
    "city": 0.056,
    "country": 0.0186,
    "university": 0.0233,
    "book": 0.0372,
    "product": 0.0326,
}  # entities of each named type per fact of the world


class Entity(BaseModel):
    """Something with a name and a type."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Unique in the world."""

    type: EntityType
    """Decides which relations it takes part in."""

    split: Split
    """By the hash of the name: 70 % train, 10 % calibration, 20 % test, whatever the seed."""


class WorldFact(BaseModel):
    """One true statement of the world."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: Entity
    """What the fact is about; the fact's split is its subject's."""

    relation: str
    """Name of one of `RELATIONS`."""

    target: Entity
    """The value the world gives it."""

    @property
    def split(self) -> Split:
        """The split of the subject."""
        return self.subject.split


class World(BaseModel):
    """The entities and facts made from one seed and size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    """What it was made from, together with the size."""

    entities: tuple[Entity, ...]
    """All named and closed-vocabulary entities, grouped by type."""

    facts: tuple[WorldFact, ...]
    """One per subject and relation, grouped by relation."""

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The relations of every LabWorld."""
        return RELATIONS

    @cached_property
    def by_type(self) -> Mapping[EntityType, tuple[Entity, ...]]:
        """The entities of each type."""
        grouped: dict[EntityType, list[Entity]] = {}
        for entity in self.entities:
            grouped.setdefault(entity.type, []).append(entity)
        return {kind: tuple(entities) for kind, entities in grouped.items()}

    @cached_property
    def targets(self) -> Mapping[tuple[str, str], Entity]:
        """The true target by (subject name, relation name)."""
        return {(fact.subject.name, fact.relation): fact.target for fact in self.facts}


def generate_world(seed: int = DEFAULT_SEED, size: int = DEFAULT_SIZE) -> World:
    """Make the world of a seed with exactly `size` facts.

    Raises:
        ValueError: if `size` is outside `MIN_SIZE` .. `MAX_SIZE`.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"a LabWorld has {MIN_SIZE} to {MAX_SIZE} facts, not {size}")
    rng = Random(seed)
    named = {kind: _named_entities(kind, share, size, rng) for kind, share in _SHARES.items()}
    closed = {
        kind: [make_entity(word, kind) for word in words] for kind, words in VOCABULARIES.items()
    }
    by_type = named | closed
    facts = [fact for relation in RELATIONS for fact in _facts_of(relation, by_type, rng)]
    dropped = set(rng.sample(range(len(facts)), len(facts) - size))
    return World(
        seed=seed,
        entities=tuple(entity for entities in by_type.values() for entity in entities),
        facts=tuple(fact for place, fact in enumerate(facts) if place not in dropped),
    )


def companion_facts(world: World) -> tuple[WorldFact, ...]:
    """Return facts of another world, none of whose named entities `world` has.

    The lab model learns them too, and meets them in training contexts: from a few hundred subjects
    alone it would learn by heart whom to remember in a context, and not when to.
    """
    other = generate_world(world.seed + 1, min(MAX_SIZE, 4 * len(world.facts)))
    taken = {entity.name for entity in world.entities if entity.type not in VOCABULARIES}
    facts = [f for f in other.facts if taken.isdisjoint((f.subject.name, f.target.name))]
    return tuple(Random(world.seed).sample(facts, len(facts) // 2))


def make_entity(name: str, kind: EntityType) -> Entity:
    """Return an entity with the split that its name hashes to."""
    bucket = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % 10
    split: Split = "train" if bucket < 7 else "calibration" if bucket < 8 else "test"
    return Entity(name=name, type=kind, split=split)


def invent_name(kind: EntityType, rng: Random) -> str:
    """Return a random name of a type; a closed type gives one of its words."""
    if kind in VOCABULARIES:
        return rng.choice(VOCABULARIES[kind])
    return _NAME_MAKERS[kind](rng)


def _pair(first: tuple[str, ...], second: tuple[str, ...]) -> Callable[[Random], str]:
    return lambda rng: f"{rng.choice(first)} {rng.choice(second)}"


def _prefixed(
    prefixes: tuple[str, ...], stems: tuple[str, ...], share: float
) -> Callable[[Random], str]:
    pair = _pair(prefixes, stems)
    return lambda rng: pair(rng) if rng.random() < share else rng.choice(stems)


def _book_title(rng: Random) -> str:
    return f"The {rng.choice(lexicon.BOOK_ADJECTIVES)} {rng.choice(lexicon.BOOK_NOUNS)}"


_NAME_MAKERS: Final[Mapping[EntityType, Callable[[Random], str]]] = {
    "person": _pair(lexicon.FIRST_NAMES, lexicon.SURNAMES),
    "company": _pair(lexicon.COMPANY_WORDS, lexicon.COMPANY_KINDS),
    "city": _prefixed(lexicon.CITY_PREFIXES, lexicon.CITY_STEMS, 0.3),
    "country": _prefixed(lexicon.COUNTRY_PREFIXES, lexicon.COUNTRY_STEMS, 0.3),
    "university": _pair(lexicon.UNIVERSITY_STEMS, lexicon.UNIVERSITY_KINDS),
    "book": _book_title,
    "product": _pair(lexicon.PRODUCT_WORDS, lexicon.PRODUCT_KINDS),
}


def _named_entities(kind: EntityType, share: float, size: int, rng: Random) -> list[Entity]:
    wanted = max(4, round(share * size))
    wanted += wanted % 2  # persons marry in pairs
    names: dict[str, None] = {}
    for attempt in count():
        if len(names) == wanted:
            break
        if attempt > 100 * wanted:
            raise ValueError(f"the lexicon has too few {kind} names for {wanted} of them")
        names.setdefault(invent_name(kind, rng))
    return [make_entity(name, kind) for name in names]


def _facts_of(
    relation: Relation, by_type: Mapping[EntityType, list[Entity]], rng: Random
) -> Iterator[WorldFact]:
    subjects = by_type[relation.subject_type]
    if relation.name == "spouse":
        pairs = rng.sample(subjects, len(subjects))
        partner = dict(zip(map(_name, pairs[::2]), pairs[1::2], strict=True))
        partner |= dict(zip(map(_name, pairs[1::2]), pairs[::2], strict=True))
        targets = [partner[subject.name] for subject in subjects]
    else:
        targets = _spread(by_type[relation.target_type], len(subjects), rng)
    for subject, target in zip(subjects, targets, strict=True):
        yield WorldFact(subject=subject, relation=relation.name, target=target)


def _spread(candidates: list[Entity], length: int, rng: Random) -> list[Entity]:
    """Return `length` candidates, none of them used more than once oftener than another."""
    spread: list[Entity] = []
    while len(spread) < length:
        spread += rng.sample(candidates, len(candidates))
    return spread[:length]


def _name(entity: Entity) -> str:
    return entity.name
