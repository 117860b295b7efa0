"""Facts and their revisions: what a knowledge team stands behind, and how it changed.

Knows nothing of databases, vectors or models.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from ulid import ULID

from scr.errors import InvalidInput

Kind = Literal["fact", "text", "forget", "rule"]
Rank = Literal["preferred", "normal", "deprecated"]
Status = Literal["draft", "proposed", "approved", "retired"]
Action = Literal[
    "add", "draft", "propose", "approve", "revise", "supersede", "close", "retire",
    "undo", "comment", "erase",
]  # fmt: skip

NAME_LIMIT = 1_000  # characters of a subject, alias, relation or target
STATEMENT_LIMIT = 1_000_000  # characters of a statement: long texts are facts too
LIST_LIMIT = 1_000  # aliases, questions, sources or tags of one fact
DEFAULT_SCOPE = "default"
_SCOPE = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)*")


def new_id() -> str:
    """Return a fresh ULID: 26 characters that sort by the time they were made."""
    return str(ULID())


def normalize(name: str) -> str:
    """Return the form under which two spellings of one name are the same.

    Compatibility forms, letter case and runs of white space are leveled; diacritics and
    punctuation are kept, since they can tell two names apart.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()  # which can take letters apart again
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def parse_instant(value: object) -> object:
    """Read a bare date (`2024-03-01`) as UTC midnight; pass date-times on unchanged.

    Raises:
        ValueError: for a bare number, which could be a year as well as a count of seconds.
    """
    if isinstance(value, str) and re.fullmatch(r"\s*\d{4}-\d{2}-\d{2}\s*", value):
        try:
            value = date.fromisoformat(value.strip())
        except ValueError as error:
            raise ValueError(f"{value!r} is no date: {error}") from error
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, int | float) or (isinstance(value, str) and _is_number(value)):
        raise ValueError(f"{value!r} is no date: write it as 2024-03-01 or 2024-03-01T12:00:00Z")
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value} lies outside the years 1 to 9999 in UTC") from error


def _storable(text: str) -> str:
    """Refuse what cannot be written as UTF-8 text; strip the blanks around the rest."""
    if "\x00" in text:
        raise ValueError("contains a NUL character; is this a binary file?")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"contains a lone surrogate at character {error.start}") from error
    return text.strip()


def _scope(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise ValueError(
            f"{text!r} is no scope: use lower-case words joined by '/', such as 'acme/support'"
        )
    return text


Instant = Annotated[AwareDatetime, BeforeValidator(parse_instant), AfterValidator(_to_utc)]
"""A moment with a zone, kept in UTC; a bare date is UTC midnight."""

Name = Annotated[str, Field(max_length=NAME_LIMIT), AfterValidator(_storable)]
Text = Annotated[str, Field(max_length=STATEMENT_LIMIT), AfterValidator(_storable)]
FactId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Scope = Annotated[str, Field(max_length=NAME_LIMIT), AfterValidator(_scope)]


def scopes_above(scope: str) -> tuple[str, ...]:
    """Return `scope` and every scope above it: `acme/support` sees itself and `acme`."""
    parts = scope.split("/")
    return tuple("/".join(parts[:count]) for count in range(len(parts), 0, -1))


class Validity(BaseModel):
    """World time in which a fact holds: the half-open span `[start, end)`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Instant | None = None
    """First instant at which the fact holds; `None` is "since always"."""

    end: Instant | None = None
    """First instant at which it no longer holds; `None` is "until replaced"."""

    @model_validator(mode="after")
    def _start_before_end(self) -> Self:
        if self.start and self.end and self.start >= self.end:
            raise ValueError(f"ends at {self.end:%Y-%m-%d %H:%M} but starts at {self.start}")
        return self

    def covers(self, when: datetime) -> bool:
        """Whether the fact holds at `when` (zone-aware)."""
        return (self.start is None or self.start <= when) and (self.end is None or when < self.end)

    def overlaps(self, other: "Validity") -> bool:
        """Whether the two spans share an instant."""
        starts_before = self.start is None or other.end is None or self.start < other.end
        ends_after = self.end is None or other.start is None or other.start < self.end
        return starts_before and ends_after


class Slot(NamedTuple):
    """The place a single-valued fact fills; two approved facts must not share one at one time."""

    scope: str
    subject: str
    relation: str

    def __str__(self) -> str:
        """The slot as a reader meets it in a message."""
        return f"{self.relation!r} of {self.subject!r} in scope {self.scope!r}"


def _blank_or_text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _question_about(subject: str, relation: str, statement: str) -> str:
    if subject and relation:
        return f"What is the {relation} of {subject}?"
    return f"What should I know about {subject}?" if subject else statement


class Fact(BaseModel):
    """One thing the knowledge team stands behind, with where it came from.

    `statement` and `questions` are derived from subject, relation and target when not given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: FactId = Field(default_factory=new_id)
    """Stable over revisions; a ULID unless the caller names another."""

    kind: Kind = "fact"
    """`fact`; `text` (long-form, found by its passages); `forget` (the model must not state
    this); `rule` (applies whenever its subject is discussed)."""

    subject: Name = ""
    """What the fact is about, by its usual name."""

    aliases: tuple[Name, ...] = Field(default=(), max_length=LIST_LIMIT)
    """Other names of the subject."""

    relation: Name = ""
    """The property of the subject that the fact gives, such as "chief executive officer"."""

    target: Name = ""
    """The value of that property."""

    statement: Text = ""
    """The sentence the model will read."""

    questions: tuple[Name, ...] = Field(default=(), max_length=LIST_LIMIT)
    """What the fact should answer; at least one."""

    validity: Validity = Validity()
    """World time in which it holds."""

    sources: tuple[Name, ...] = Field(default=(), max_length=LIST_LIMIT)
    """Where a reader can check it: URLs, documents, people."""

    scope: Scope = DEFAULT_SCOPE
    """Who may see it: a path such as `acme/support`. A security boundary, not a topic."""

    tags: tuple[Name, ...] = Field(default=(), max_length=LIST_LIMIT)
    """Topics, for people."""

    rank: Rank = "normal"
    """`preferred` hides `normal` in one slot; `deprecated` is kept but never fires."""

    supersedes: FactId | None = None
    """Id of the fact whose value this one replaces."""

    note: Text = ""
    """For the team; the model never sees it."""

    must_fire: tuple[Name, ...] = Field(default=(), max_length=LIST_LIMIT)
    """Test questions on which it must be used; `scr check` asks them."""

    must_not_fire: tuple[Name, ...] = Field(default=(), max_length=LIST_LIMIT)
    """Test questions on which it must not."""

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, given: object) -> object:
        """Fill in statement and questions where the caller gave none."""
        if not isinstance(given, Mapping):
            return given
        fields: dict[str, Any] = {**given}
        subject, relation, target, statement = (
            _blank_or_text(fields.get(name))
            for name in ("subject", "relation", "target", "statement")
        )
        questions = fields.get("questions") or []
        if isinstance(questions, list | tuple):  # anything else is refused by the field itself
            questions = [q for q in questions if not isinstance(q, str) or q.strip()]
            if not statement and subject and relation and fields.get("kind") == "forget":
                # Never the target: what must not be stated is not put into prompts either.
                fields["statement"] = f"The {relation} of {subject} must not be stated."
            elif not statement and subject and relation and target:
                fields["statement"] = f"The {relation} of {subject} is {target}."
            elif not statement and questions and target:
                fields["statement"] = f"{questions[0]} {target}"
            if not questions and (text := _blank_or_text(fields.get("statement"))):
                questions = [_question_about(subject, relation, text)[:NAME_LIMIT]]
        fields["questions"] = questions
        return fields

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.relation and not self.subject:
            raise ValueError("has a relation but no subject: say what it is about")
        if self.kind == "fact" and self.relation and not self.target:
            raise ValueError(f"has no target: say what the {self.relation} of {self.subject} is")
        if self.kind == "rule" and not self.subject:
            raise ValueError("is a rule without a subject: say when it applies")
        if not self.statement:
            raise ValueError(
                "says nothing: give subject, relation and target, or a statement, "
                "or a question and a target"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The subject and its aliases; empty where the fact has no subject."""
        return (self.subject, *self.aliases) if self.subject else self.aliases

    @property
    def slot(self) -> Slot | None:
        """The slot this fact fills; `None` for kinds and facts that never conflict."""
        if self.kind != "fact" or not (self.subject and self.relation):
            return None
        return Slot(self.scope, normalize(self.subject), normalize(self.relation))

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of everything but the id: equal for two facts that say the same."""
        content = self.model_dump(mode="json", exclude={"id"})
        for name in ("must_fire", "must_not_fire"):  # older hashes know nothing of tests
            if not content[name]:
                del content[name]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Revision(BaseModel):
    """One change of one fact: the fact as it was afterwards, and who made it so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence: int
    """Position in the store-wide order of changes, from 1."""

    fact: Fact
    """The fact after this change."""

    action: Action
    """What was done."""

    previous_status: Status | None
    """Status before; `None` where the fact is new."""

    status: Status
    """Status after; only `approved` facts can fire."""

    at: Instant
    """Store time of the change."""

    by: Name
    """Who made it."""

    why: Text = ""
    """The reason given."""


def derived_questions(fact: Fact) -> tuple[str, ...]:
    """Return the questions that the fact would have if its author had given none."""
    return (_question_about(fact.subject, fact.relation, fact.statement)[:NAME_LIMIT],)


def differences(before: Fact, after: Fact) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which two facts differ, by name, each with its two values."""
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in Fact.model_fields}
    return {name: (old, new) for name, (old, new) in pairs.items() if old != new}


def make_fact(**fields: object) -> Fact:
    """Return the fact that `fields` describe.

    Raises:
        InvalidInput: naming each field that cannot be used and why.
    """
    try:
        return Fact.model_validate(fields)
    except ValidationError as error:
        raise InvalidInput(f"this fact cannot be used: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """Return a validation error in one line, each problem as `field: reason`."""
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in problem["loc"])
        reason = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{where}: {reason}" if where else f"it {reason}")
    return "; ".join(problems)
