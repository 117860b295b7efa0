"""The relations of LabWorld and the sentences that ask for them and state them."""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from scr.edits import Split

EntityType = Literal[
    "person",
    "company",
    "city",
    "country",
    "university",
    "book",
    "product",
    "language",
    "occupation",
    "field",
    "industry",
    "instrument",
    "currency",
    "genre",
]
FormKind = Literal["question", "chatty", "follow_up", "statement", "cloze"]


def split_of(name: str) -> Split:
    """Return the split that a name hashes to: 70 % train, 10 % calibration, 20 % test."""
    bucket = _hash(name) % 10
    return "train" if bucket < 7 else "calibration" if bucket < 8 else "test"


class Form(BaseModel):
    """A sentence with placeholders: `{subject}` (but for follow-ups), `{target}` if it states."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    """The sentence with its placeholders; a cloze form ends where the target goes."""

    kind: FormKind
    """`question`; `chatty`: a question as people type it; `follow_up`: one that leaves the subject
    to the turn before; `statement`; `cloze`."""

    split: Split
    """No chat or statement of training is in a form of `calibration` or `test`."""


class Relation(BaseModel):
    """A relation with its type signature and its sentence forms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The field's words for it, as in `The {name} of {subject} is {target}.`"""

    subject_type: EntityType
    """Type of every subject."""

    target_type: EntityType
    """Type of every target."""

    split: Split
    """By the hash of the name. Contexts of training are about `train` relations only."""

    coverage: float
    """Share of the entities of the subject's type that have it."""

    many_valued: bool = False
    """Whether a subject has several targets at one time."""

    symmetric: bool = False
    """Whether the target has the same relation to the subject."""

    inverse: str | None = None
    """Name of the relation that holds in the other direction, where each target has one subject."""

    dated: bool = False
    """Whether its facts start at a known date, and some have a predecessor that ended then."""

    forms: tuple[Form, ...]
    """At least eight questions, two chatty and two follow-up forms, four statements and three
    cloze forms; at least one of each kind is held out."""

    def texts(self, kind: FormKind, split: Split) -> tuple[str, ...]:
        """Return the forms of one kind and split."""
        return self._texts[kind, split]

    @cached_property
    def _texts(self) -> Mapping[tuple[FormKind, Split], tuple[str, ...]]:
        kinds: tuple[FormKind, ...] = ("question", "chatty", "follow_up", "statement", "cloze")
        splits: tuple[Split, ...] = ("train", "calibration", "test")
        return {
            (kind, split): tuple(
                form.text for form in self.forms if (form.kind, form.split) == (kind, split)
            )
            for kind in kinds
            for split in splits
        }

    def noun(self, subject: str) -> str:
        """Return a noun phrase for the target, such as "the capital of Kestria"."""
        article = "the " if self.subject_type == "product" else ""
        return f"the {self.name} of {article}{subject}"


_CLAUSE_QUESTIONS: Final = ("Do you know [C]?", "Tell me [C].", "Can you tell me [C]?")
_CHATTY: Final = (
    "Hey, do you happen to know [C]?",
    "Sorry to bother you, but could you remind me [C]?",
    "I was wondering [C].",
    "In a few words, please tell me [C].",
    "I am writing a report and need to know [C].",
    "Hi! Someone asked me [C], any idea?",
)
_TARGET_LAST: Final = " [T]."
_PRONOUNS: Final[Mapping[EntityType, str]] = {"person": "their"}


def _relation(
    name: str,
    signature: tuple[EntityType, EntityType],
    clauses: list[str],
    questions: list[str],
    follow_up: str,
    statements: list[str],
    **others: Any,
) -> Relation:
    """Build a relation from what `relations.toml` says of it; `others` are fields as they are."""
    subject_type, target_type = signature
    article = "the " if subject_type == "product" else ""
    asks = "Who" if target_type == "person" else "What"
    their = _PRONOUNS.get(subject_type, "its")
    wrapped = [
        wrapper.replace("[C]", clause) for clause in clauses for wrapper in _CLAUSE_QUESTIONS
    ]
    derived = [f"{asks} is the {name} of {article}[S]?"]
    if not article:
        derived.append(f"{asks} is [S]'s {name}?")
    chatty = [wrapper.replace("[C]", clauses[0]) for wrapper in _CHATTY]
    follow_ups = [
        follow_up,
        f"And what about {their} {name}?",
        f"And the {name}?",
        f"{asks} is {their} {name}?",
    ]
    sentences = _stated(f"The {name} of {article}[S] is [T].", statements, name)
    return Relation(
        name=name,
        subject_type=subject_type,
        target_type=target_type,
        split=split_of(name),
        forms=(
            *_forms("question", [*derived, *questions, *wrapped], name),
            *_forms("chatty", chatty, name),
            *_forms("follow_up", follow_ups, name),
            *sentences,
            *_cloze(sentences),
        ),
        **others,
    )


def _forms(kind: FormKind, texts: list[str], name: str) -> Iterable[Form]:
    """Split forms by the rank of their hashes, so that each kind has some of each use.

    A fifth, and at least one, is `test`; with eight or more, a tenth and at least one is
    `calibration`.
    """
    ranked = _ranked(texts, name)
    test = max(1, len(texts) // 5)
    calibration = max(1, len(texts) // 10) if len(texts) >= 8 else 0
    held_out = dict.fromkeys(ranked[:test], "test")
    held_out |= dict.fromkeys(ranked[test : test + calibration], "calibration")
    for text in texts:
        split: Split = held_out.get(text, "train")  # type: ignore[assignment]
        yield Form(text=_placeholders(text), kind=kind, split=split)


def _stated(default: str, others: list[str], name: str) -> list[Form]:
    """Split statements; a cloze form that is held out needs a statement that ends on the target.

    The sentence that SCR derives for a fact is what people inject: it is always in training.
    """
    held_out, *_ = _ranked([text for text in others if text.endswith(_TARGET_LAST)], name)
    return [
        Form(
            text=_placeholders(text),
            kind="statement",
            split="test" if text == held_out else "train",
        )
        for text in (default, *others)
    ]


def _cloze(statements: list[Form]) -> Iterable[Form]:
    ending = _placeholders(_TARGET_LAST)
    for form in statements:
        if form.text.endswith(ending):
            text = form.text.removesuffix(ending)
            yield Form(text=text, kind="cloze", split=form.split)


def _ranked(texts: list[str], name: str) -> list[str]:
    return sorted(texts, key=lambda text: _hash(f"{name}: {text}"))


def _placeholders(text: str) -> str:
    return text.replace("[S]", "{subject}").replace("[T]", "{target}")


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


RELATIONS: Final = tuple(
    _relation(**fields)
    for fields in tomllib.loads(
        (Path(__file__).parent / "relations.toml").read_text(encoding="utf-8")
    )["relation"]
)
"""The relations of every LabWorld, from `relations.toml`."""
BY_NAME: Final[Mapping[str, Relation]] = {relation.name: relation for relation in RELATIONS}
BY_SUBJECT_TYPE: Final[Mapping[EntityType, tuple[Relation, ...]]] = {
    kind: tuple(relation for relation in RELATIONS if relation.subject_type == kind)
    for kind in {relation.subject_type for relation in RELATIONS}
}
