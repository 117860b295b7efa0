"""SCR: joins retrieval, detection and composition over a store, and records the trace.

    messages -> Query -> Candidates -> Decision -> Context -> messages

Knows nothing of chat models, HTTP or the terminal, and decides nothing itself.
"""

import getpass
import logging
import time
from collections.abc import Callable, Sequence
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, overload

from scr.composition import SystemMessageComposer, TokenCounter
from scr.engine.checking import Checked, Preview, check, near_duplicates, preview
from scr.engine.following import FixedRetriever, FollowingRetriever
from scr.errors import InvalidInput, StoreError
from scr.facts import Revision, make_fact
from scr.messages import read_question, turns_of
from scr.records import (
    BatchDetector,
    Candidate,
    Composer,
    Confirmer,
    Decision,
    Detector,
    Embedder,
    Message,
    Query,
    Trace,
    Turn,
    make_query,
)
from scr.settings import Settings, load_settings
from scr.store import Relations, Store, Task

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import Runnable

    from scr.chat import Answerer, Knowledge, ScrChatModel
    from scr.detection import Recalibration

log = logging.getLogger(__name__)

CHUNK = 256  # queries of `decide_many` whose texts are embedded and read together
_KEPT = (
    "kind", "subject", "aliases", "relation", "questions", "scope", "tags", "rank",
    "must_fire", "must_not_fire",
)  # fmt: skip
When = datetime | str | None


class Ask(NamedTuple):
    """A conversation to put facts into, and who asks."""

    messages: Sequence[Message]
    """In OpenAI's shape; never changed."""

    scope: str | None = None
    """Facts of this scope and those above it are seen; `None`: the setting's."""

    count_tokens: TokenCounter | None = None
    """Counts tokens as the model does that will read the messages; else they are estimated."""

    budget: int | None = None
    """Most tokens that the model has room for; the setting's is never exceeded."""

    caller: str = ""
    """Whose trace it is."""


class Composed(NamedTuple):
    """A conversation with the facts that apply."""

    messages: Sequence[Message]
    """To send; the very same object if nothing was put in."""

    trace: Trace | None
    """`None` where there was no question to decide on."""

    text: str
    """What was put in."""


class SCR:
    """A store of facts and the pipeline that decides, per query, which of them apply.

    One object may be shared between threads. Models are loaded at the first decision.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings | None = None,
        *,
        embedder: Embedder | None = None,
        detector: Detector | None = None,
        confirmer: Confirmer | None = None,
    ) -> None:
        self.store = store
        self.settings = settings or load_settings()
        self._detector = detector
        self._confirmer = confirmer
        self._retriever = FollowingRetriever(store, embedder, self.settings.embedder)
        self._prune()

    @classmethod
    def open(cls, path: str | Path | None = None, **settings: object) -> Self:
        """Open the store at `path` (default: the setting `store`), made if it is missing.

        Args:
            path: the SQLite file; its index lies beside it in `PATH.index`.
            settings: any of `scr.settings.Settings`, over environment and `scr.toml`.

        Raises:
            InvalidInput: a setting cannot be used.
            StoreError: the file is no store, or a newer version wrote it.
        """
        chosen = load_settings(store=path, **settings)
        return cls(Store.open(chosen.store, create=True), chosen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Save the index's snapshot if it moved, and close the store."""
        try:
            self._retriever.save()
        finally:
            self.store.close()

    def follow(self) -> None:
        """Bring the index up to the store, a few changes at a time: decisions go on in between."""
        self._retriever.follow()

    @property
    def followed(self) -> int:
        """Sequence number of the store up to which the index has followed; 0 before the first."""
        return self._retriever.sequence

    # Facts

    def add(self, *, by: str | None = None, why: str = "", **fields: object) -> Revision:
        """Add the fact that `fields` describe (see `scr.facts.Fact`).

        It is approved at once, or proposed where the store was made for review; the revision's
        `status` says which. With `supersedes=ID` the old value ends where the new one starts.

        Raises:
            InvalidInput: naming the fields that cannot be used.
            FactConflict: an approved fact fills the same slot at an overlapping time.
            FactNotFound: `supersedes` names no fact.
        """
        fields.setdefault("scope", self.settings.scope)
        return self.store.add(make_fact(**fields), by=by or self.author, why=why)

    def supersede(
        self, fact_id: str, target: str, *, by: str | None = None, why: str = "", **fields: object
    ) -> Revision:
        """Replace the value of a fact by a new fact about the same slot.

        What names and asks for the fact is the old one's unless `fields` say otherwise: kind,
        subject, aliases, relation, questions, scope, tags, rank and tests. The statement is derived
        anew.

        Raises:
            FactNotFound: no such fact.
            InvalidInput: the new fact cannot be used.
        """
        old = self.store.get(fact_id).fact
        kept = {name: getattr(old, name) for name in _KEPT}
        return self.add(
            by=by, why=why, **{**kept, **fields, "target": target, "supersedes": fact_id}
        )

    def erase(self, fact_id: str, *, why: str, by: str | None = None) -> Revision:
        """Take a fact's words out of the store and of the index beside it, for good.

        See `Store.erase`.
        """
        revision = self.store.erase(fact_id, by=by or self.author, why=why)
        self._retriever.forget()
        return revision

    def check(self, fact_ids: Sequence[str] = ()) -> list[Checked]:
        """Ask the test questions of the approved facts that hold today, or of those named.

        Raises:
            FactNotFound: one of the ids names no fact.
        """
        if fact_ids:
            return check(self, [self.store.get(fact_id).fact for fact_id in fact_ids])
        return check(self, [r.fact for r in self.store.list(valid_at=datetime.now(UTC))])

    def near_duplicates(self) -> list[Task]:
        """Return facts in use or waiting for whose questions another fact is used."""
        waiting = self.store.list(status="proposed") + self.store.list(status="draft")
        looked_at = self.store.list(valid_at=datetime.now(UTC)) + waiting
        return near_duplicates(self, looked_at, Relations(self.store.declared))

    def preview(self, fact_id: str) -> Preview:
        """Return what approving a fact would change among all saved questions.

        Saved are the facts' own questions and their tests. Nothing is written.

        Raises:
            ScrError: whatever approving it would raise, such as `FactConflict`.
        """
        written = self.store.rehearse_approval(fact_id)
        with self._retriever.current() as retriever:
            retriever = retriever.copy()
        retriever.follow(written, retriever.sequence)
        hypothetical = copy(self)
        hypothetical._retriever = FixedRetriever(self.store, retriever)
        return preview(self, hypothetical, [revision.fact for revision in written])

    @property
    def author(self) -> str:
        """Who is named in revisions that name nobody: the setting `user`, else the login name."""
        return self.settings.user or _login_name()

    # Decisions

    def decide(
        self,
        query: str,
        *,
        history: Sequence[Turn | Message] = (),
        valid_at: When = None,
        as_of: When | int = None,
        scope: str | None = None,
    ) -> Decision:
        """Decide whether any fact applies to `query`, and which.

        Args:
            query: the user's words.
            history: earlier turns, oldest first, as `Turn`s or OpenAI-shaped messages.
            valid_at: world time asked about; default the one that the question names, else now.
            as_of: store time, an instant or a sequence number; default the latest.
            scope: facts of this scope and those above it are seen; default the setting's.

        Raises:
            InvalidInput: a time or scope cannot be used. No text of a query ever raises.
        """
        turns = tuple(turn for said in history for turn in turns_of(said))
        return self._decide_all([self._query(query, turns, valid_at, as_of, scope)], {})[0]

    def decide_many(
        self,
        queries: Sequence[str],
        *,
        valid_at: When = None,
        as_of: When | int = None,
        scope: str | None = None,
    ) -> list[Decision]:
        """Decide on each query as `decide` would; texts are embedded and read together.

        Args:
            queries: the users' words, each by itself.
            valid_at: as for `decide`, of all of them.
            as_of: likewise.
            scope: likewise.

        Raises:
            InvalidInput: a time or scope cannot be used. No text of a query ever raises.
        """
        read = [self._query(text, (), valid_at, as_of, scope) for text in queries]
        chunks = (read[at : at + CHUNK] for at in range(0, len(read), CHUNK))
        return [decision for chunk in chunks for decision in self._decide_all(chunk, {})]

    def augment(
        self,
        messages: Sequence[Message],
        *,
        valid_at: When = None,
        as_of: When | int = None,
        scope: str | None = None,
    ) -> Sequence[Message]:
        """Return OpenAI-shaped `messages` with the facts that apply; see `run`."""
        return self.run(messages, valid_at=valid_at, as_of=as_of, scope=scope)[0]

    def run(
        self,
        messages: Sequence[Message],
        *,
        valid_at: When = None,
        as_of: When | int = None,
        scope: str | None = None,
        count_tokens: TokenCounter | None = None,
        budget: int | None = None,
        confirmer: Confirmer | None = None,
    ) -> tuple[Sequence[Message], Trace | None]:
        """Put the facts that apply into OpenAI-shaped `messages`; record the trace.

        Args:
            messages: the conversation; never changed. The last one must be the user's for
                anything to be injected: nothing comes between a tool call and its result.
            valid_at: world time asked about; default the one that the question names, else now.
            as_of: store time, an instant or a sequence number; default the latest.
            scope: facts of this scope and those above it are seen; default the setting's.
            count_tokens: counts tokens as the model does that will read the messages; without
                it they are estimated.
            budget: most tokens that the model has room for; the setting's is never exceeded.
            confirmer: asked about each fact that applies; default the setting's.

        Returns:
            The messages to send, the very same object if nothing applies; and the trace, `None`
            where there was no question to decide on.
        """
        asked = read_question(messages)
        if asked is None:
            return messages, None
        timings: dict[str, float] = {}
        query = self._query(*asked, valid_at, as_of, scope)
        (decision,) = self._decide_all([query], timings, confirmer)
        ask = Ask(messages, scope, count_tokens, budget)
        composed = self._compose(ask, query, decision, timings)
        self.record([composed.trace] if composed.trace else [])
        return composed.messages, composed.trace

    def run_many(self, asks: Sequence[Ask], *, most: int | None = None) -> list[Composed]:
        """Do what `run` does for several conversations, whose texts are embedded together.

        The latest facts are read, and the time that a question names is its world time. The traces
        are not kept; `record` does that, once an answer is on its way.

        Args:
            asks: the conversations.
            most: changes of the store that are waited for; where there are more, as after an
                import, the index is read as it is. `None` waits for all.
        """
        composed = [Composed(ask.messages, None, "") for ask in asks]
        questions = [read_question(ask.messages) for ask in asks]
        asked = [number for number, question in enumerate(questions) if question is not None]
        queries = [
            self._query(*question, None, None, ask.scope)
            for question, ask in zip(questions, asks, strict=True)
            if question is not None
        ]
        if not queries:
            return composed
        timings: dict[str, float] = {}
        decisions = self._decide_all(queries, timings, most=most)
        for number, query, decision in zip(asked, queries, decisions, strict=True):
            composed[number] = self._compose(asks[number], query, decision, dict(timings))
        return composed

    def _compose(
        self, ask: Ask, query: Query, decision: Decision, timings: dict[str, float]
    ) -> Composed:
        composer: Composer = SystemMessageComposer(ask.count_tokens, self.settings.placement)
        start = time.perf_counter()
        room = self.settings.budget
        if ask.budget is not None:
            room = min(ask.budget, room)
        composed, context = composer(ask.messages, decision, room)
        timings["composition"] = (time.perf_counter() - start) * 1e3
        keep, caller = self.settings.trace_text, ask.caller
        trace = Trace.of(query, decision, context, timings, keep=keep, caller=caller)
        return Composed(composed, trace, context.text)

    @overload
    def wrap(self, answers: "BaseChatModel") -> "ScrChatModel": ...

    @overload
    def wrap(self, answers: "Runnable[Any, Any]") -> "Runnable[Any, Any]": ...

    @overload
    def wrap(self, answers: "Callable[[Sequence[Message]], str]") -> "Answerer": ...

    def wrap(self, answers: Any) -> Any:
        """Return what answers as `answers` does, with the facts that apply.

        Args:
            answers: a LangChain chat model; any other runnable that reads chat messages; or a
                function of messages in OpenAI's shape that returns a text.

        Returns:
            The same kind of thing. A function's answers are texts with an attribute `scr`.

        Raises:
            InvalidInput: it is none of these.
        """
        # The one call upwards: `wrap` is how users meet the engine.
        from langchain_core.language_models import BaseChatModel
        from langchain_core.runnables import Runnable

        from scr.chat import Answerer, Augmented, ScrChatModel

        if isinstance(answers, BaseChatModel):
            return ScrChatModel(inner=answers, knowledge=self._asking(answers))
        if isinstance(answers, Runnable):
            return Augmented(answers, self._asking(None))
        if callable(answers):
            return Answerer(answers, self._asking(None))
        raise InvalidInput(
            f"{answers!r:.80} answers no messages: wrap a LangChain chat model or runnable, or a "
            "function of messages"
        )

    def _asking(self, model: "BaseChatModel | None") -> "Knowledge":
        """Return this, or what also asks the wrapped model where the setting says so."""
        if self.settings.confirmer != "model":
            return self
        if model is None:
            raise InvalidInput('the setting `confirmer = "model"` needs a wrapped chat model')
        from scr.detection import ChatConfirmer

        return _Confirming(self, ChatConfirmer(model))

    # Steps

    def _query(
        self,
        text: str,
        history: tuple[Turn, ...],
        valid_at: When,
        as_of: When | int,
        scope: str | None,
    ) -> Query:
        from scr.retrieval.times import time_asked  # retrieval takes long to import

        if valid_at is None:
            now = datetime.now(UTC)
            valid_at = time_asked(text, now) or now
        return make_query(
            text=text,
            history=history,
            valid_at=valid_at,
            as_of=as_of,
            scope=scope or self.settings.scope,
        )

    def _decide_all(
        self,
        queries: Sequence[Query],
        timings: dict[str, float],
        confirmer: Confirmer | None = None,
        most: int | None = None,
    ) -> list[Decision]:
        """Decide on queries that ask for one store time; `timings` gets milliseconds a step."""
        start = time.perf_counter()
        found, sequence, fingerprint = self._retrieve(queries, most)
        retrieved = time.perf_counter()
        detector = self._loaded_detector()
        decisions = (
            detector.many(queries, found)
            if isinstance(detector, BatchDetector)
            else [detector(*asked) for asked in zip(queries, found, strict=True)]
        )
        decisions = [
            self._unless_foreign(*decided)
            for decided in zip(queries, found, decisions, strict=True)
        ]
        detected = time.perf_counter()
        timings["retrieval"] = (retrieved - start) * 1e3
        timings["detection"] = (detected - retrieved) * 1e3
        confirmer = confirmer or self._loaded_confirmer()
        if confirmer is not None and any(decision.applies for decision in decisions):
            from scr.detection import confirm

            asked = zip(queries, decisions, strict=True)
            decisions = [confirm(query, decision, confirmer) for query, decision in asked]
            timings["confirmation"] = (time.perf_counter() - detected) * 1e3
        told = {"sequence": sequence, "embedder": fingerprint}
        return [
            decision.model_copy(update={**told, "valid_at": query.valid_at})
            for query, decision in zip(queries, decisions, strict=True)
        ]

    def _unless_foreign(
        self, query: Query, candidates: Sequence[Candidate], decision: Decision
    ) -> Decision:
        """Return the decision, or nothing where the embedder does not know the query's language."""
        from scr.retrieval import foreign_language

        embedder = self._retriever.embedder
        if embedder is None or not (known := embedder.languages):
            return decision
        named = bool(candidates) and candidates[0].mention is not None
        text = candidates[0].masked_sentence if named else query.text
        language = foreign_language(text, known)
        if not language:
            return decision
        reason = (
            f"the query is in a language ({language}) that the embedding model does not know"
            f" ({', '.join(sorted(known))}); name a multilingual one in the setting `embedder`"
        )
        refused = {"applies": False, "matches": (), "probability": 0.0, "reason": reason}
        best = decision.matches[0] if decision.matches else decision.runner_up
        return decision.model_copy(update={**refused, "runner_up": best})

    def _retrieve(
        self, queries: Sequence[Query], most: int | None = None
    ) -> tuple[list[list[Candidate]], int, str]:
        """Return the candidates of queries that ask for one store time, that time, the embedder."""
        with self._retriever.current(most) as retriever:
            sequence = retriever.sequence
            asked = queries[0].as_of
            if asked is not None:
                if isinstance(asked, datetime):
                    asked = self.store.sequence_at(asked)
                sequence = min(max(asked, 0), sequence)  # what the index has followed
                queries = [query.model_copy(update={"as_of": sequence}) for query in queries]
            found = retriever.many(queries, limit=self.settings.candidates)
            return found, sequence, retriever.embedder.fingerprint

    def _loaded_detector(self) -> Detector:
        if self._detector is None:
            from scr.detection import load_detector

            self._detector = load_detector(
                threshold=self.settings.threshold,
                max_facts=self.settings.max_facts,
                reader=self.settings.reader,
                recalibration=self._recalibration(),
                max_false_fire_rate=self.settings.max_false_fire_rate,
            )
        return self._detector

    def _loaded_confirmer(self) -> Confirmer | None:
        name = self.settings.confirmer
        if self._confirmer is None and name not in ("", "model"):
            from scr.detection import CrossEncoderConfirmer

            self._confirmer = CrossEncoderConfirmer(name)
        return self._confirmer

    def _recalibration(self) -> "Recalibration | None":
        from scr.detection import Recalibration

        path = self.settings.calibration
        if path is None:
            return None
        made = Recalibration.load(path)
        embedder = self._retriever.embedder
        if embedder is not None and made.embedder != embedder.fingerprint:
            raise InvalidInput(
                f"{path} was made with another embedding model than {self.settings.embedder!r}: "
                "make it anew with `scr detector calibrate`"
            )
        return made

    # Traces

    def _prune(self) -> None:
        """Delete traces whose time is over; where that cannot be done now, it is next time."""
        try:
            self.store.prune_traces(self.settings.trace_retention_days)
        except StoreError:
            log.warning("old traces in %s could not be deleted", self.store.path, exc_info=True)

    def record(self, traces: Sequence[Trace]) -> None:
        """Keep the traces; a request never fails because its trace could not be written."""
        days = self.settings.trace_retention_days
        if not traces:
            return
        try:
            self.store.save_traces(traces, retention_days=days)
        except StoreError:
            named = ", ".join(trace.id for trace in traces)
            log.warning("trace %s could not be kept", named, exc_info=True)


class _Confirming:
    """Knowledge that asks a confirmer of its own: that of the chat model it is wrapped around."""

    def __init__(self, knowledge: SCR, confirmer: Confirmer) -> None:
        self._knowledge = knowledge
        self._confirmer = confirmer

    def run(
        self,
        messages: Sequence[Message],
        *,
        count_tokens: TokenCounter | None = None,
        budget: int | None = None,
    ) -> tuple[Sequence[Message], Trace | None]:
        return self._knowledge.run(
            messages, count_tokens=count_tokens, budget=budget, confirmer=self._confirmer
        )


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
