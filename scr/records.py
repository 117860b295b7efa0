"""What flows through the pipeline: a record for each step's result, and the steps' interfaces.

    messages -> Query -> Candidates -> Decision -> Context -> messages

The four steps (retrieval, detection, composition, chat) know these records and not each other.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scr.errors import InvalidInput
from scr.facts import DEFAULT_SCOPE, Fact, Instant, Scope, explain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Message = Mapping[str, Any]
"""One message in OpenAI's shape: `{"role": …, "content": …}`, other keys left alone."""

Placement = Literal["system", "user"]
"""Where facts are put: into the system message, or into the last user message."""


class Record(BaseModel):
    """Base of the records: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Turn(Record):
    """One earlier turn of the conversation."""

    role: Literal["user", "assistant"]
    """Who spoke."""

    text: str
    """What was said."""


class Query(Record):
    """What the user asks now, and what it has to be read against."""

    text: str
    """The user's words: the last user message, nothing that was added to it."""

    history: tuple[Turn, ...] = ()
    """Earlier turns, oldest first."""

    valid_at: Instant | None = None
    """World time asked about; `None` is now."""

    as_of: Instant | int | None = None
    """Store time (an instant or a sequence number); `None` is the latest."""

    scope: Scope = DEFAULT_SCOPE
    """The query sees facts of this scope and those above it."""


def make_query(**fields: object) -> Query:
    """Return the query that `fields` describe.

    Raises:
        InvalidInput: a time or a scope cannot be used.
    """
    try:
        return Query.model_validate(fields)
    except ValidationError as error:
        raise InvalidInput(f"this query cannot be used: {explain(error)}") from error


class Mention(Record):
    """Words that name a fact's subject."""

    text: str
    """The words as they stand in the query or the history."""

    start: int
    """First character of the words in the text they stand in."""

    end: int
    """One past their last character."""

    name: str
    """The subject's name or alias that they match."""

    similarity: float
    """1 for an exact match of normalized names, less for a near miss, in [0, 1]."""

    turn: int | None = None
    """Index of the turn in the history, or `None` for the query itself."""


class Passage(Record):
    """A part of a long statement."""

    place: int
    """Its number in the statement, from 0."""

    text: str
    """Whole sentences, as a rule."""


class Candidate(Record):
    """A fact that retrieval found, with everything it measured on the way.

    All cosines are of unit embeddings, in [-1, 1].
    """

    fact: Fact
    """The fact."""

    via: tuple[Fact, ...] = ()
    """Facts that lead to it from the subject that the query names, each about the target of the
    one before; empty where the query names the fact's own subject."""

    key: str
    """The key of the fact (a question, a passage of its statement) nearest to the query."""

    masked_key: str
    """The masked key nearest to the masked sentence."""

    cosine: float
    """Query against that key."""

    masked_cosine: float
    """The same with the subject's name masked on both sides: do they ask the same relation?"""

    sentence_cosine: float
    """The sentence that holds the mention (the whole query where there is none) against the
    nearest key."""

    sentence_masked_cosine: float
    """The same with the subject's name masked on both sides."""

    mention: Mention | None = None
    """Words that name the subject; `None` where none were found."""

    relation_similarity: float
    """The masked sentence against the nearest masked key where phrasings of one relation were
    learned to lie together; the plain cosine of the two where the embedder has no such space."""

    sentence: str
    """The sentence that holds the mention, what points back put in; the whole query where there
    is no mention."""

    masked_sentence: str
    """The same with the mention replaced by a placeholder."""

    masked_passage: str
    """The sentence and those next to it, up to a few hundred characters, likewise masked."""

    masked_fact: str
    """What the fact says, likewise masked: its question and its passage nearest to the query."""

    passages: tuple[Passage, ...] = ()
    """Of a statement of several passages, those nearest to the query first; else empty."""

    coverage: float
    """Share of the name's words that the text holds, weighted by how telling they are, in
    [0, 1]; misspelled words count in part."""

    specificity: float
    """How telling the mentioned name is: the sum of its words' inverse document frequencies
    among the names of the store; 0 without a mention."""


class Evidence(Record):
    """Why a probability is what it is."""

    mention: Mention | None
    """The words that ground the subject."""

    key: str
    """The key that matched."""

    contributions: dict[str, float] = Field(default_factory=dict)
    """Each feature's share of the log-odds, largest first."""


class Match(Record):
    """A fact with the probability that it applies to the query."""

    fact: Fact
    """The fact."""

    via: tuple[Fact, ...] = ()
    """Facts that lead to it from the subject that the query names; they are needed too."""

    passages: tuple[Passage, ...] = ()
    """Of a long statement, its passages, the most useful first; else empty."""

    probability: float = Field(ge=0, le=1)
    """Calibrated probability that the fact answers the query."""

    evidence: Evidence
    """Why."""


class Decision(Record):
    """What the detector decided, and why."""

    applies: bool
    """Whether any fact applies; if not, the request passes through untouched."""

    matches: tuple[Match, ...] = ()
    """The facts that apply, most probable first; empty if none does."""

    probability: float = Field(ge=0, le=1)
    """Probability that some fact applies, whatever was decided."""

    reason: str
    """The decision in a sentence for a person."""

    runner_up: Match | None = None
    """The most probable fact that was refused."""

    threshold: float = Field(ge=0, le=1)
    """Probability from which a fact applies."""

    detector: str
    """Name and version of the detector."""

    embedder: str = ""
    """Hash of the embedding model, set by the engine."""

    sequence: int = 0
    """Store sequence number that was read, set by the engine."""

    valid_at: Instant | None = None
    """World time that facts had to hold at, set by the engine: named by the query, or now."""


class Context(Record):
    """What the composer put into the prompt."""

    text: str
    """The injected text; empty if nothing was injected."""

    fact_ids: tuple[str, ...] = ()
    """Facts in it, in their order."""

    dropped: tuple[str, ...] = ()
    """Facts that applied but did not fit the budget."""

    shortened: tuple[str, ...] = ()
    """Facts in it of whose statements only some passages fit."""

    tokens: int = 0
    """Tokens of `text`: as the wrapped model counts them where it can, else estimated."""


Role = Literal["reader", "editor", "approver", "admin"]
"""What a key allows, each role what the one before does too: to ask, to propose facts, to approve
them, to manage keys."""


class ApiKey(Record):
    """A key of the server, without its secret."""

    id: str
    """Names it in lists and logs."""

    role: Role
    """What it allows."""

    scopes: tuple[Scope, ...] = Field(min_length=1)
    """It may see facts of these scopes and of those above them."""

    name: str = ""
    """Whose it is, or what for."""

    by: str
    """Who made it."""

    created: Instant
    """When it was made."""

    revoked: Instant | None = None
    """When it was revoked; `None`: it is in force."""


class TracedMatch(Record):
    """A match as a trace keeps it: the fact by its id, words only where text may be kept."""

    fact_id: str
    """Id of the fact."""

    via: tuple[str, ...] = ()
    """Ids of the facts that lead to it."""

    probability: float
    """Probability that it applies."""

    contributions: dict[str, float]
    """Each feature's share of the log-odds."""

    mention: Mention | None = None
    """The words that ground the subject; only where `trace_text` is on."""

    @classmethod
    def of(cls, match: Match, *, keep: bool) -> Self:
        """Return what a trace keeps of a match; `keep` is whether anyone's words are kept."""
        return cls(
            fact_id=match.fact.id,
            via=tuple(fact.id for fact in match.via),
            probability=match.probability,
            mention=match.evidence.mention if keep else None,
            contributions=match.evidence.contributions,
        )


class Trace(Record):
    """One request: what was asked, decided and injected, and how long each step took.

    With the store revision, the detector's version and the embedder's hash in it, the decision
    can be replayed.
    """

    id: str = Field(default_factory=lambda: secrets.token_hex(16))
    """ULID; also in the response's metadata."""

    at: Instant
    """When."""

    caller: str = ""
    """Id of the key that asked; empty where none was needed."""

    query_hash: str
    """SHA-256 (hex) of the query's text."""

    query: Query | None = None
    """The query itself; only where `trace_text` is on."""

    scope: str
    """Scope of the query."""

    valid_at: Instant
    """World time that facts had to hold at."""

    applies: bool
    """Whether any fact applied."""

    probability: float
    """Probability that some fact applies."""

    threshold: float
    """Probability from which a fact applies."""

    matches: tuple[TracedMatch, ...] = ()
    """Facts that applied, most probable first."""

    runner_up: TracedMatch | None = None
    """The most probable fact that was refused."""

    reason: str = ""
    """The decision in a sentence; only where `trace_text` is on."""

    injected: tuple[str, ...] = ()
    """Ids of the facts put into the prompt, in their order."""

    dropped: tuple[str, ...] = ()
    """Ids of facts that applied but did not fit the budget."""

    shortened: tuple[str, ...] = ()
    """Ids of injected facts of whose statements only some passages fit."""

    injected_tokens: int = 0
    """Tokens put into the prompt: as the wrapped model counts them where it can, else estimated."""

    sequence: int
    """Store sequence number that was read."""

    detector: str
    """Name and version of the detector."""

    embedder: str
    """Hash of the embedding model."""

    timings: dict[str, float]
    """Milliseconds per step."""

    @classmethod
    def of(
        cls,
        query: Query,
        decision: Decision,
        context: Context,
        timings: Mapping[str, float],
        *,
        keep: bool,
        caller: str = "",
    ) -> Self:
        """Return the trace of a request; `keep` is whether anyone's words are kept."""
        best = decision.runner_up
        return cls(
            at=datetime.now(UTC),
            caller=caller,
            query_hash=hashlib.sha256(query.text.encode("utf-8", "surrogatepass")).hexdigest(),
            query=query if keep else None,
            scope=query.scope,
            valid_at=query.valid_at,
            applies=decision.applies,
            probability=decision.probability,
            threshold=decision.threshold,
            matches=tuple(TracedMatch.of(match, keep=keep) for match in decision.matches),
            runner_up=TracedMatch.of(best, keep=keep) if best else None,
            reason=decision.reason if keep else "",
            injected=context.fact_ids,
            dropped=context.dropped,
            shortened=context.shortened,
            injected_tokens=context.tokens,
            sequence=decision.sequence,
            detector=decision.detector,
            embedder=decision.embedder,
            timings=dict(timings),
        )


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def fingerprint(self) -> str:
        """Hash that changes whenever the vectors would."""
        ...

    @property
    def languages(self) -> frozenset[str]:
        """ISO 639-1 codes of the languages it was made for; empty: not known, or all."""
        ...

    def __call__(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return `(n, d)` float32 unit rows for `n` texts. Never raises for any text."""
        ...


class Detector(Protocol):
    """Decides whether any of the facts found for a query applies."""

    def __call__(self, query: Query, candidates: Sequence[Candidate]) -> Decision:
        """Choose among `candidates` (may be empty). Must not raise for any text."""
        ...


@runtime_checkable
class BatchDetector(Protocol):
    """A detector that decides on many queries faster than on one after the other."""

    def many(
        self, queries: Sequence[Query], found: Sequence[Sequence[Candidate]]
    ) -> list[Decision]:
        """Return what calling it with each query and its candidates would."""
        ...


class Confirmer(Protocol):
    """Asked about each fact that applies, before it is used; takes facts away, never adds one."""

    @property
    def name(self) -> str:
        """What it is called in reasons."""
        ...

    def __call__(self, query: Query, statements: Sequence[str]) -> list[float]:
        """Return for each statement the probability that it bears on the query."""
        ...


class Composer(Protocol):
    """Puts the facts that apply into the messages."""

    def __call__(
        self, messages: Sequence[Message], decision: Decision, budget: int
    ) -> tuple[Sequence[Message], Context]:
        """Return the messages to send and what was injected.

        The very same `messages` object comes back if nothing applies or nothing fits into
        `budget` tokens.
        """
        ...
