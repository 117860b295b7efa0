"""Fit the shipped detector anew and write `scr/detection/weights/trees.json`.

    python scripts/train_detector.py [--seed 0] [--made-only] [--out PATH]

It learns from made stores of 1 to 300 facts (`scripts/made_stores.py`), asked about subjects that
the reader has not seen, and, unless told otherwise, from the selectivity set under SCR_DATA: the
coefficients are taken, the text stays.
"""

import argparse
import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from made_stores import make_store
from numpy.typing import NDArray
from written import held_out, load_texts, load_written

from scr.detection import TreeDetector
from scr.detection.fitting import Samples, fit
from scr.detection.reader import Reader, load_reader
from scr.evaluation.selectivity import (
    Case,
    RememberingReader,
    find_candidates,
    joined,
    read_cases,
    read_facts,
    sample,
    score,
)
from scr.facts import Fact, normalize
from scr.records import Candidate, Embedder, Query
from scr.retrieval import load_embedder

WEIGHTS = Path(__file__).parent.parent / "scr/detection/weights/trees.json"
VERSION = "2"
MADE_WEIGHT = 1.0  # of a made query beside one of the set
CROSSED = 1500  # questions that ask of a subject of the set what is told of another
CROSSED_WEIGHT = 0.2  # of one of them beside one of the set
THRESHOLD = 0.5  # of a calibrated probability: firing and abstaining wrongly cost the same
MADE_STORES = ((1, 100, 8), (3, 50, 14), (10, 30, 35), (30, 12, 60), (100, 6, 150), (300, 3, 300))
HELD_OUT_STORES = ((1, 20, 8), (10, 4, 35), (100, 1, 150))  # facts, stores, queries of each
ALIKE = 0.6  # cosine from which two wordings may ask for the same
SET_STORES = ((1, 120), (10, 40), (100, 8))  # facts, stores cut out of the set


Part = tuple[list[Case], list[list[Candidate]]]


class RememberingEmbedder:
    """An embedder that embeds each text once, and the texts of many stores together.

    What a retriever embeds hardly depends on the vectors it gets (only which facts are reached over
    others does), so a first pass over the stores collects texts, and a second one finds nearly all
    of their vectors ready.
    """

    def __init__(self, embedder: Embedder) -> None:
        """Remember what `embedder` returns."""
        self.embedder = embedder
        self.fingerprint = embedder.fingerprint
        self.languages = embedder.languages
        self.known: dict[str, NDArray[np.float32]] = {}
        self.wanted: dict[str, None] | None = None
        """Texts collected in a first pass; `None` in a second one."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return `(n, d)` float32 unit rows; in a first pass rows of one kind."""
        if self.wanted is not None:
            self.wanted.update(dict.fromkeys(texts))
            return np.tile(self.embedder([""]), (len(texts), 1))
        self._embed(texts)
        return np.stack([self.known[text] for text in texts])

    def both_passes(self, read: Callable[[], list[Part]]) -> list[Part]:
        """Return what `read` returns, with all its texts embedded in one call."""
        self.wanted = {}
        read()
        texts, self.wanted = list(self.wanted), None
        self._embed(texts)
        return read()

    def _embed(self, texts: Sequence[str]) -> None:
        fresh = list(dict.fromkeys(text for text in texts if text not in self.known))
        if fresh:
            self.known.update(zip(fresh, self.embedder(fresh), strict=True))


def made(embedder: Embedder, seed: int, plan: Sequence[tuple[int, int, int]]) -> Iterator[Part]:
    """Yield made stores with their queries, read through the retriever."""
    texts = load_texts()
    written = [*load_written(), *texts]
    unread = {text.subject for text in texts}

    def askable(subject: str) -> bool:
        return held_out(subject) or subject in unread

    number = 0
    for size, stores, queries in plan:
        for _ in range(stores):
            number += 1
            store = make_store(written, askable, size, queries, seed * 1_000 + number)
            cases = [Case(c.query, c.gold, f"made/{c.category}") for c in store.cases]
            yield cases, find_candidates(store.facts, cases, embedder)


def cut(
    facts: Sequence[Fact], cases: Sequence[Case], embedder: Embedder, seed: int
) -> Iterator[Part]:
    """Yield small stores cut out of a big one: answers that were cut away are none."""
    rng = random.Random(seed)
    by_fact: dict[str, list[Case]] = {}
    for case in cases:
        for fact_id in case.gold:
            by_fact.setdefault(fact_id, []).append(case)
    for size, stores in SET_STORES:
        for _ in range(stores):
            kept = rng.sample(list(facts), size)
            ids = {fact.id for fact in kept}
            asked = [case for fact in kept for case in by_fact.get(fact.id, ())]
            others = rng.sample(list(cases), max(3, len(asked)))
            chosen = [c._replace(gold=c.gold & ids) for c in [*asked, *others]]
            yield chosen, find_candidates(kept, chosen, embedder)


def crossed(facts: Sequence[Fact], embedder: Embedder, number: int, seed: int) -> list[Case]:
    """Return questions that ask of a fact's subject what a fact of another subject tells.

    The set's own queries hardly ever name a subject of the store and ask for something else, as
    people do. The questions are those of two facts of one source with the subjects exchanged; near
    wordings (`ALIKE`), which may ask for the same, are left out.

    Args:
        facts: those of the store.
        embedder: tells near wordings.
        number: of questions.
        seed: of every choice.

    Returns:
        The questions, none of which anything answers.
    """
    rng = random.Random(seed)
    blank = "\0"
    forms: dict[str, list[str]] = {}  # of all facts about a subject
    by_source: dict[str, list[tuple[Fact, str]]] = {}
    for fact in facts:
        if fact.subject and fact.questions and fact.subject in fact.questions[0]:
            form = fact.questions[0].replace(fact.subject, blank)
            forms.setdefault(normalize(fact.subject), []).append(form)
            by_source.setdefault(fact.id.partition("-")[0], []).append((fact, form))
    pool = [pair for own in by_source.values() for pair in own]
    drawn: list[tuple[Fact, str]] = []
    for fact, _ in (rng.choice(pool) for _ in range(2 * number)):
        drawn.append((fact, rng.choice(by_source[fact.id.partition("-")[0]])[1]))
    told = [text for own in forms.values() for text in own]
    texts = list(dict.fromkeys(text.replace(blank, "it") for text in told))
    vectors = dict(zip(texts, embedder(texts), strict=True))
    found: list[Case] = []
    for fact, form in drawn:
        asked = vectors[form.replace(blank, "it")]
        own_forms = forms[normalize(fact.subject)]
        nearest = max(float(asked @ vectors[own.replace(blank, "it")]) for own in own_forms)
        if nearest < ALIKE and len(found) < number:
            source = fact.id.partition("-")[0]
            query = Query(text=form.replace(blank, fact.subject))
            found.append(Case(query, frozenset(), f"{source}/crossed"))
    return found


def weighed(samples: Samples, weight: float) -> Samples:
    """Return samples that count so much."""
    return samples._replace(weights=np.full(len(samples.labels), weight))


def figures(weights: dict[str, Any], parts: Sequence[Part], reader: Reader) -> dict[str, Any]:
    """Return the scores of a detector on the queries of several stores."""
    detector = TreeDetector(weights, reader=reader)
    cases = [case for part, _ in parts for case in part]
    decisions = [detector(c.query, f) for part in parts for c, f in zip(*part, strict=True)]
    scores = score(cases, decisions)._asdict()
    categories = {name: round(rate, 4) for name, rate in scores.pop("categories").items()}
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in scores.items()}
    return {"queries": len(cases), **rounded, "categories": categories}


def main() -> None:
    """Train, measure on made stores of another seed, and write the weights with their card."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--made-only", action="store_true", help="leave the selectivity set out")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    embedder = RememberingEmbedder(load_embedder("offline"))
    reader = RememberingReader(load_reader())
    seed = arguments.seed
    parts = embedder.both_passes(lambda: list(made(embedder, seed, MADE_STORES)))
    made_parts = len(parts)
    if not arguments.made_only:
        folder = Path(os.environ.get("SCR_DATA", "../shared")) / "selectivity"
        facts, cases = read_facts(folder / "facts.jsonl"), read_cases(folder / "queries.jsonl")
        whole = (cases, find_candidates(facts, cases, embedder))
        cuts = embedder.both_passes(lambda: list(cut(facts, cases, embedder, seed)))
        asked = crossed(facts, embedder, CROSSED, seed)
        parts += [whole, *cuts, (asked, find_candidates(facts, asked, embedder))]
    worth = [MADE_WEIGHT] * made_parts + [1.0] * (len(parts) - made_parts)
    if not arguments.made_only:
        worth[-1] = CROSSED_WEIGHT
    samples = joined([weighed(sample(*p), w) for p, w in zip(parts, worth, strict=True)])
    weights = fit(samples, reader, seed=seed)
    weights |= {"version": VERSION, "threshold": THRESHOLD}
    unseen = embedder.both_passes(lambda: list(made(embedder, seed + 1, HELD_OUT_STORES)))
    weights["card"] = {
        "command": f"python scripts/train_detector.py --seed {seed}"
        + (" --made-only" if arguments.made_only else ""),
        "embedder": embedder.fingerprint,
        "queries": {
            "made": sum(len(cases) for cases, _ in parts[:made_parts]),
            "selectivity set, whole, cut and crossed": sum(len(c) for c, _ in parts[made_parts:]),
        },
        "scores on made stores of the next seed (the same facts, other stores)": figures(
            weights, unseen, reader
        ),
    }
    arguments.out.write_text(json.dumps(weights) + "\n", encoding="utf-8")
    json.dump(weights["card"], sys.stdout, indent=1)


if __name__ == "__main__":
    main()
