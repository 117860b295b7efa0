"""What is declared of relations: synonyms, many values, inverses, questions that ask for them.

Relations are free strings; one of which nothing is declared has one value at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Annotated, Any, Final, Self

from pydantic import Field, ValidationError, model_validator

from scr.errors import InvalidInput, PackInvalid
from scr.facts import NAME_LIMIT, Fact, Name, Slot, derived_questions, explain, normalize
from scr.records import Record

PLACE: Final = "{subject}"
"""Where the subject's name goes in a question form."""


class Relation(Record):
    """What is declared of one relation."""

    name: Annotated[Name, Field(min_length=1)]
    """Its usual name."""

    synonyms: tuple[Annotated[Name, Field(min_length=1)], ...] = ()
    """Other names of it; facts under any of them fill one slot."""

    many_valued: bool = False
    """Whether a subject may have several values at one time: then they do not conflict."""

    symmetric: bool = False
    """Whether it holds in both directions, as between spouses."""

    inverse: Name = ""
    """The relation that leads back, such as `employee` for `employer`."""

    questions: tuple[Name, ...] = ()
    """Forms of questions that ask for the value, each with `{subject}` in it; a fact that comes
    without questions gets these."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for form in self.questions:
            if form.count(PLACE) != 1:
                raise ValueError(f"needs {PLACE} once in the question {form!r}")
        if self.symmetric and self.inverse:
            raise ValueError("is symmetric and names an inverse: a symmetric one is its own")
        named = [normalize(name) for name in self.names]
        if len(set(named)) < len(named):
            raise ValueError(f"names {self.name!r} or one of its synonyms twice")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Its usual name and its synonyms."""
        return (self.name, *self.synonyms)


class Relations:
    """The declared relations, to be looked up by any of their names."""

    def __init__(self, declared: Iterable[Relation] = ()) -> None:
        """Know some relations.

        Raises:
            InvalidInput: two of them share a name, or two inverses do not name each other.
        """
        self.declared = tuple(declared)
        self._by_name: dict[str, Relation] = {}
        for relation in self.declared:
            for name in map(normalize, relation.names):
                if other := self._by_name.get(name):
                    raise InvalidInput(
                        f"{name!r} names both the relation {other.name!r} and {relation.name!r}: "
                        "take it out of one of them"
                    )
                self._by_name[name] = relation
        for relation in self.declared:
            back = self.of(relation.inverse)
            if back is not None and back.inverse and self.of(back.inverse) is not relation:
                raise InvalidInput(
                    f"the inverse of {relation.name!r} is {back.name!r}, whose inverse is "
                    f"{back.inverse!r}: let them name each other"
                )

    def of(self, name: str) -> Relation | None:
        """Return what is declared of a relation, by any of its names."""
        return self._by_name.get(normalize(name))

    def names(self, name: str) -> tuple[str, ...]:
        """Return every name of a relation, normalized, its usual one first."""
        relation = self.of(name)
        return tuple(map(normalize, relation.names)) if relation else (normalize(name),)

    def slot(self, fact: Fact) -> Slot | None:
        """Return the slot that a fact fills, under its relation's usual name."""
        slot = fact.slot
        return slot and slot._replace(relation=self.names(slot.relation)[0])

    def is_many_valued(self, name: str) -> bool:
        """Whether a relation may have several values at one time."""
        relation = self.of(name)
        return relation is not None and relation.many_valued

    def contradict(self, one: Fact, other: Fact) -> bool:
        """Whether two facts cannot both be approved: one slot, one rank, a shared time."""
        return (
            one.slot is not None
            and one.rank == other.rank != "deprecated"
            and self.slot(one) == self.slot(other)
            and not self.is_many_valued(one.relation)
            and one.validity.overlaps(other.validity)
        )

    def contradictions(self, facts: Iterable[Fact]) -> Iterator[tuple[Fact, Fact]]:
        """Yield the pairs of facts that cannot both be approved."""
        filling: dict[Slot, list[Fact]] = {}
        for fact in facts:
            if (slot := self.slot(fact)) is not None:
                filling.setdefault(slot, []).append(fact)
        for rivals in filling.values():
            yield from (pair for pair in combinations(rivals, 2) if self.contradict(*pair))

    def opposite(self, fact: Fact) -> tuple[str, ...]:
        """Return the names of the relation that leads from a fact's target back to its subject."""
        relation = self.of(fact.relation)
        if fact.slot is None or relation is None:
            return ()
        if relation.symmetric:
            return self.names(relation.name)
        if relation.inverse:
            return self.names(relation.inverse)
        return ()

    def with_questions(self, fact: Fact) -> Fact:
        """Return a fact whose questions were derived with those that its relation declares."""
        relation = self.of(fact.relation) if fact.slot else None
        derived = derived_questions(fact)
        if relation is None or not relation.questions or fact.questions != derived:
            return fact
        asked = [form.replace(PLACE, fact.subject)[:NAME_LIMIT] for form in relation.questions]
        return fact.model_copy(update={"questions": tuple(dict.fromkeys([*asked, *derived]))})


def read_relations(content: bytes, name: str) -> list[Relation]:
    """Read a list of relations, as YAML.

    Args:
        content: the file.
        name: what to call it in messages.

    Raises:
        PackInvalid: naming each relation that cannot be used, by its place in the list.
        InvalidInput: they do not fit together.
    """
    from scr.store.formats import yaml_list

    read: list[Relation] = []
    problems = []
    for number, fields in enumerate(yaml_list(content, name), start=1):
        try:
            given = {"name": fields} if isinstance(fields, str) else fields
            read.append(Relation.model_validate(given))
        except ValidationError as error:
            problems.append((number, explain(error)))
    if problems:
        raise PackInvalid(name, problems)
    Relations(read)
    return read


def write_relations(relations: Sequence[Relation]) -> str:
    """Return relations as YAML, sorted by name; the same relations give the same text."""
    from scr.store.formats import to_yaml

    ordered = sorted(relations, key=lambda relation: normalize(relation.name))
    plain: list[Any] = [
        {"name": each.name, **each.model_dump(mode="json", exclude_defaults=True)}
        for each in ordered
    ]
    return to_yaml(plain)
