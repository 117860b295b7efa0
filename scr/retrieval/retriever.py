"""Finding the facts that may answer a query: dense keys and subject mentions, joined."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scr.facts import Fact, Revision
from scr.records import Candidate, Embedder, Mention, Passage, Query
from scr.retrieval.columns import Arrays, Multimap, key_of, part, under
from scr.retrieval.followup import SURE_NAMING, Carried, carry_over
from scr.retrieval.hops import Chain, chains_from
from scr.retrieval.index import KeyIndex, View
from scr.retrieval.keys import Key, names_of
from scr.retrieval.mentions import MentionIndex, Naming
from scr.retrieval.names import mask_names, passage_around, sentence_around, sentences_of
from scr.retrieval.relations import RelationSpace
from scr.retrieval.snapshot import Snapshot, read_snapshot, write_snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPANS = 6  # places of a query that are masked, each by itself
SENTENCES = 6  # of a message, its last ones, that are searched by themselves
PASSAGE = 300  # characters of a message around a mention, in whole sentences, that are read closely
WINDOW = 1_000  # characters of a message before and after a mention that are read with it
SCORED = 256  # facts about the mentioned subjects that are compared in full


class Reading(NamedTuple):
    """The query as it is read around one mention."""

    query: str
    masked: str
    sentence: str
    masked_sentence: str

    masked_passage: str
    """The sentence and those next to it, masked: what is read closely."""

    @property
    def embedded(self) -> tuple[str, ...]:
        """What is compared by its vectors."""
        return self.query, self.masked, self.sentence, self.masked_sentence


class Plan(NamedTuple):
    """What a query names, and the texts that have to be embedded for it."""

    query: Query
    view: View
    """The versions that the query may see."""

    namings: list[tuple[Naming, int | None, Reading]]
    """Each mention, the turn it stands in, and how the query reads around it."""

    dense: list[str]
    """Texts searched in the key index: the query, and its sentences where it has several."""

    @property
    def texts(self) -> set[str]:
        """Everything to embed."""
        return {*self.dense, *(text for _, _, r in self.namings for text in r.embedded)}


class Reached(NamedTuple):
    """The last fact of a chain that leads from a subject that a query names."""

    plan: Plan
    chain: Chain
    keys: list[Key]
    """Of that fact, as they read from that subject."""

    best: tuple[Naming | None, int | None, Reading]
    """The naming of that subject."""

    coverage: float


class Retriever:
    """Follows a store and finds the facts that may answer a query."""

    def __init__(self, embedder: Embedder, *, snapshot: Path | None = None) -> None:
        """Start from the snapshot where it fits the embedder, else from nothing."""
        self.embedder = embedder
        self.snapshot = snapshot
        self._relations = RelationSpace.load(embedder.fingerprint)
        self.sequence = 0
        """Store sequence number up to which changes were followed."""
        self.mark = ""
        """Names the last change that was followed, as `mark_of` does; empty before the first."""
        self.clear()
        if snapshot is not None:
            self._restore(snapshot)

    def follow(self, revisions: Iterable[Revision], sequence: int) -> None:
        """Take in the store's changes after `self.sequence`, in order.

        Args:
            revisions: the changes; may go on beyond `sequence`.
            sequence: the store's sequence number when it was read, before the changes were.
        """
        last: deque[Revision] = deque(maxlen=1)
        self._index.follow(_noting(revisions, last), self.embedder, self._name)
        self.sequence = sequence
        if last:  # another process may have written more since `sequence` was read
            self.sequence, self.mark = max(sequence, last[0].sequence), mark_of(last[0])

    def save(self) -> None:
        """Write the snapshot, replacing the one before in one step; without a path do nothing."""
        if self.snapshot is not None:
            write_snapshot(
                self.snapshot,
                fingerprint=self.embedder.fingerprint,
                sequence=self.sequence,
                mark=self.mark,
                arrays=self._arrays(),
            )

    def _arrays(self) -> Arrays:
        return {
            **under("index", self._index.arrays()),
            **under("mentions", self._mentions.arrays()),
            **under("named", self._named.arrays()),
        }

    def copy(self) -> "Retriever":
        """Return one that has followed the same, and goes its own way from here."""
        other = Retriever(self.embedder)
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        other._take(Snapshot(self.sequence, self.mark, arrays))
        return other

    def __call__(self, query: Query, *, limit: int = 16) -> list[Candidate]:
        """Return the facts that may answer the query, likeliest first.

        Args:
            query: its `as_of` is a sequence number or `None`.
            limit: most facts from the key index, and as many again from the mentions.
        """
        return self.many([query], limit=limit)[0]

    def many(self, queries: Sequence[Query], *, limit: int = 16) -> list[list[Candidate]]:
        """Return what each query would find by itself; all their texts are embedded at once."""
        plans = [self._plan(query) for query in queries]
        asked = [plan for plan in plans if plan.view.rows.total]
        vectors = self._embed({text for plan in asked for text in plan.texts})
        found: list[list[Candidate]] = []
        reached: list[list[Reached]] = []
        for plan in plans:
            grounded = self._grounded(plan)
            found.append(self._candidates(plan, grounded, vectors, limit) if vectors else [])
            reached.append(self._reached(plan, grounded, found[-1]))
        texts = {t for ends in reached for end in ends for key in end.keys for t in key[:2]}
        further = self._embed(texts)
        for candidates, ends in zip(found, reached, strict=True):
            candidates += [self._measure_reached(end, vectors, further) for end in ends]
            candidates.sort(key=_promise, reverse=True)
        return found

    def _embed(self, texts: set[str]) -> dict[str, "NDArray[np.float32]"]:
        ordered = sorted(texts)
        return dict(zip(ordered, self.embedder(ordered), strict=True)) if ordered else {}

    def clear(self) -> None:
        """Forget everything that was followed."""
        self._index = KeyIndex()
        self._mentions = MentionIndex()
        self._named = Multimap()  # name -> versions
        self.sequence, self.mark = 0, ""

    def _name(self, version: int, fact: Fact) -> None:
        """Make the names of a new version findable."""
        for name in names_of(fact):
            self._named.add(key_of(name), version)
            self._mentions.add(name)

    def _restore(self, path: Path) -> None:
        snapshot = read_snapshot(path, fingerprint=self.embedder.fingerprint)
        if snapshot is not None:
            self._take(snapshot)

    def _take(self, snapshot: Snapshot) -> None:
        self._index.restore(part("index", snapshot.arrays))
        self._mentions.restore(part("mentions", snapshot.arrays))
        self._named.restore(part("named", snapshot.arrays))
        self.sequence, self.mark = snapshot.sequence, snapshot.mark

    def _plan(self, query: Query) -> Plan:
        view = self._index.visible(query)
        text = query.text
        opening = text[: 2 * WINDOW]
        if not view.rows.total:
            return Plan(query, view, [], [])

        def find(said: str) -> list[Naming]:
            return self._mentions.find(said, partial(self._sees, view))

        found = find(text)
        carried = carry_over(text, found, query.history, find)
        namings: list[tuple[Naming, int | None, Reading]] = [
            (c.naming, c.turn, _read_carried(c)) for c in carried
        ]
        spans: dict[tuple[int, int], Reading] = {}
        for naming in found:
            span = (naming.start, naming.end)
            if span not in spans and len(spans) < SPANS:
                spans[span] = _read(text, naming)
            if span in spans:
                namings.append((naming, None, spans[span]))
        sentences = sentences_of(text)
        dense = [opening, *(sentences[-SENTENCES:] if len(sentences) > 1 else ())]
        return Plan(query, view, namings, [*dense, *(c.rewritten for c in carried)])

    def _sees(self, view: View, name: str) -> bool:
        return bool(view.mask[self._named.get(key_of(name))].any())

    def _about(self, view: View, name: str) -> list[int]:
        """Return the visible versions of the facts about the subject of that name."""
        versions = self._named.get(key_of(name))
        return [int(version) for version in versions[view.mask[versions]]]

    def _candidates(
        self,
        plan: Plan,
        grounded: Mapping[int, Sequence[int]],
        vectors: dict[str, "NDArray[np.float32]"],
        limit: int,
    ) -> list[Candidate]:
        if not plan.view.rows.total:
            return []
        searched = np.stack([vectors[text] for text in plan.dense])
        dense = self._index.search(searched, limit, plan.view)[:limit]
        about = [self._measure(plan, vectors, v, numbers) for v, numbers in grounded.items()]
        about.sort(key=_promise, reverse=True)
        kept = about[:limit]
        there = {candidate.fact.id for candidate in kept}
        for version in dense:
            candidate = self._measure(plan, vectors, version, grounded.get(version, []))
            if candidate.fact.id not in there:
                kept.append(candidate)
        return sorted(kept, key=_promise, reverse=True)

    def _grounded(self, plan: Plan) -> dict[int, list[int]]:
        """Return the versions about the subjects that are named, with their namings' numbers."""
        grounded: dict[int, list[int]] = defaultdict(list)
        for number, (naming, _, _) in enumerate(plan.namings):
            for version in self._about(plan.view, naming.name):
                if version in grounded or len(grounded) < SCORED:
                    grounded[version].append(number)
        return grounded

    def _reached(
        self,
        plan: Plan,
        grounded: Mapping[int, Sequence[int]],
        candidates: Sequence[Candidate],
    ) -> list[Reached]:
        """Return the facts that the subjects surely named lead to over other facts."""
        place = {candidate.fact.id: at for at, candidate in enumerate(candidates)}
        named = {v: self._best(plan, v, numbers) for v, numbers in grounded.items()}
        starts = [
            version
            for version, (naming, _, _) in named.items()
            if naming and naming.similarity >= SURE_NAMING and self._index.fact(version).id in place
        ]
        starts.sort(key=lambda version: place[self._index.fact(version).id])

        reached = []
        for chain in chains_from(starts, self._index.fact, partial(self._about, plan.view)):
            first, last = chain.versions[0], chain.versions[-1]
            naming, turn, reading = named[first]
            if naming is not None:
                # By the name that its own facts' keys bear, so that their cosines compare.
                name = self._index.fact(first).subject or naming.name
                seen = [chain.see(key, name) for key in self._index.entry(last).keys]
                coverage = self._coverage(plan, first, grounded[first])
                reached.append(Reached(plan, chain, seen, (naming, turn, reading), coverage))
        return reached

    def _measure_reached(
        self,
        end: Reached,
        vectors: dict[str, "NDArray[np.float32]"],
        further: dict[str, "NDArray[np.float32]"],
    ) -> Candidate:
        """Return the last fact of a chain as a candidate, seen from the subject of the first."""
        *via, fact = map(self._index.fact, end.chain.versions)
        plain = np.stack([further[key.plain] for key in end.keys])
        masked = np.stack([further[key.masked] for key in end.keys])
        measured = self._compare(end.plan, vectors, end.best, end.keys, plain, masked)
        return Candidate(fact=fact, via=tuple(via), coverage=end.coverage, **measured)

    def _measure(
        self,
        plan: Plan,
        vectors: dict[str, "NDArray[np.float32]"],
        version: int,
        numbers: Sequence[int],
    ) -> Candidate:
        """Return a version as a candidate, with what is measured on it."""
        best = self._best(plan, version, numbers)
        plain, masked = self._index.key_vectors(version)
        fact, keys = self._index.entry(version)
        measured = self._compare(plan, vectors, best, keys, plain, masked)
        coverage = self._coverage(plan, version, numbers)
        return Candidate(fact=fact, coverage=coverage, **measured)

    def _compare(
        self,
        plan: Plan,
        vectors: dict[str, "NDArray[np.float32]"],
        best: tuple[Naming | None, int | None, Reading],
        keys: Sequence[Key],
        plain: "NDArray[np.float32]",
        masked: "NDArray[np.float32]",
    ) -> dict[str, Any]:
        """Return what a candidate holds beside its fact, from the vectors of its keys."""
        naming, turn, reading = best
        cosines = plain @ vectors[reading.query]
        sentence_masked = masked @ vectors[reading.masked_sentence]
        related = sentence_masked
        if self._relations is not None:
            asked = self._relations(vectors[reading.masked_sentence][None])[0]
            related = self._relations(masked) @ asked
        said = plan.query.text if turn is None else plan.query.history[turn].text
        mention = None
        if naming is not None:
            mention = Mention(
                text=said[naming.start : naming.end],
                start=naming.start,
                end=naming.end,
                name=naming.name,
                similarity=round(naming.similarity, 4),
                turn=turn,
            )
        return {
            "key": keys[int(cosines.argmax())].plain,
            "masked_key": keys[int(sentence_masked.argmax())].masked,
            "cosine": float(cosines.max()),
            "masked_cosine": float((masked @ vectors[reading.masked]).max()),
            "sentence_cosine": float((plain @ vectors[reading.sentence]).max()),
            "sentence_masked_cosine": float(sentence_masked.max()),
            "mention": mention,
            "relation_similarity": float(related.max()),
            "sentence": reading.sentence,
            "masked_sentence": reading.masked_sentence,
            "masked_passage": reading.masked_passage,
            "masked_fact": _masked_fact(keys, sentence_masked),
            "passages": _passages(keys, plain @ vectors[reading.sentence]),
            "specificity": naming.specificity if naming else 0.0,
        }

    def _best(
        self, plan: Plan, version: int, numbers: Sequence[int]
    ) -> tuple[Naming | None, int | None, Reading]:
        if not numbers:
            text = plan.query.text[: 2 * WINDOW]
            return None, None, Reading(text, text, text, text, _question_of(text))
        best = max(numbers, key=lambda n: (_strength(plan.namings[n][0]), -n))
        return plan.namings[best]

    def _coverage(self, plan: Plan, version: int, numbers: Sequence[int]) -> float:
        """Share of the subject that is named; of all names where they were only inferred."""
        namings = [plan.namings[number][0] for number in numbers]
        if not namings:
            return 0.0
        fact = self._index.fact(version)
        if fact.names:
            return max(naming.coverage for naming in namings)
        named = {naming.name: naming.coverage * naming.specificity for naming in namings}
        total = sum(self._mentions.specificity(name) for name in names_of(fact))
        return min(sum(named.values()) / total, 1.0) if total else 0.0


def mark_of(revision: Revision) -> str:
    """Return what tells a change from any other, in this store's history or another's."""
    return f"{revision.sequence} {revision.at.isoformat()} {revision.fact.id}"


def _noting(revisions: Iterable[Revision], last: deque[Revision]) -> Iterator[Revision]:
    """Yield the revisions; `last` holds the last one of them afterwards."""
    for revision in revisions:
        last.append(revision)
        yield revision


def _masked_fact(keys: Sequence[Key], nearness: "NDArray[np.float32]") -> str:
    """Return what a fact says: its nearest question and its nearest passage, masked."""
    kinds = ([at for at, key in enumerate(keys) if key.asks is asks] for asks in (True, False))
    return " ".join(keys[max(kind, key=nearness.__getitem__)].masked for kind in kinds if kind)


def _passages(keys: Sequence[Key], nearness: "NDArray[np.float32]") -> tuple[Passage, ...]:
    """Return the passages of a statement that has several, the nearest first."""
    told = [
        (key.plain, float(near)) for key, near in zip(keys, nearness, strict=True) if not key.asks
    ]
    if len(told) < 2:
        return ()
    order = sorted(range(len(told)), key=lambda place: -told[place][1])
    return tuple(Passage(place=place, text=told[place][0]) for place in order)


def _strength(naming: Naming) -> float:
    return naming.similarity * naming.coverage * min(naming.specificity, 10.0)


def _promise(candidate: Candidate) -> tuple[float, float, str]:
    """Order of candidates: grounded and alike first; the id makes it total."""
    similarity = candidate.mention.similarity if candidate.mention else 0.0
    nearness = max(candidate.sentence_masked_cosine, candidate.masked_cosine)
    return (similarity * candidate.coverage + nearness, candidate.cosine, candidate.fact.id)


def _read(text: str, naming: Naming) -> Reading:
    around = text[max(naming.start - WINDOW, 0) : naming.end + WINDOW]
    first, last = sentence_around(text, naming.start, naming.end)
    sentence = text[max(first, naming.start - WINDOW) : min(last, naming.end + WINDOW)].strip()
    words = (text[naming.start : naming.end],)
    first, last = passage_around(text, naming.start, naming.end, PASSAGE)
    passage = text[first:last].strip()
    masked = (mask_names(part, words) for part in (around, sentence, passage))
    masked_around, masked_sentence, masked_passage = masked
    return Reading(around, masked_around, sentence, masked_sentence, masked_passage)


def _read_carried(carried: Carried) -> Reading:
    rewritten, masked = carried.rewritten, carried.masked
    return Reading(rewritten, masked, rewritten, masked, masked[:PASSAGE])


def _question_of(text: str) -> str:
    """Return the passage around the last question of a text, or its opening if it asks none."""
    asks = max(text.rfind("?"), 0)
    first, last = passage_around(text, asks, asks + 1, PASSAGE)
    return text[first:last].strip()
