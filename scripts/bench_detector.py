"""How long a decision takes beside embedding its query: ratios of one run, as JSON.

    python scripts/bench_detector.py [--queries 1000] [--batch 10000] [--no-reader] [--out PATH]

The store holds the facts of the selectivity set under SCR_DATA; queries are the set's own, each
asked once, so that no cache helps. One thread. `decide` is set against `SentenceTransformer.encode`
of the same query, `decide_many` against one batched call; the two take turns, so that what slows
one down slows down the other.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from scr.engine import SCR
from scr.evaluation.selectivity import read_cases, read_facts
from scr.retrieval import load_embedder
from scr.retrieval.embedders import offline_folder
from scr.settings import load_settings
from scr.store import Store


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    """Append the wall time of the block, in seconds."""
    start = time.perf_counter()
    yield
    into.append(time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--no-reader", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(os.environ.get("SCR_DATA", "../shared")) / "selectivity"
    facts = read_facts(folder / "facts.jsonl")
    texts = list(dict.fromkeys(case.query.text for case in read_cases(folder / "queries.jsonl")))
    random.Random(0).shuffle(texts)
    embedder = load_embedder("offline")
    bare = SentenceTransformer(str(offline_folder()), device="cpu")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "facts.db"
        settings = load_settings(
            store=path, reader=not arguments.no_reader, trace_retention_days=0.0
        )
        with SCR(Store.open(path, create=True), settings, embedder=embedder) as knowledge:
            for fact in facts:
                knowledge.store.add(fact, by="bench")
            knowledge.decide("Is everything loaded?")
            figures = measure(knowledge, bare, texts, arguments.queries, arguments.batch)
    figures |= {"facts": len(facts), "reader": not arguments.no_reader}
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    json.dump(figures, sys.stdout, indent=1)
    print()


def measure(
    knowledge: SCR, bare: Any, texts: list[str], singles: int, batch: int
) -> dict[str, float | int]:
    """Return medians, rates and their ratios."""
    decided: list[float] = []
    encoded: list[float] = []
    for text in texts[:singles]:
        with timed(encoded):
            bare.encode(text, normalize_embeddings=True, show_progress_bar=False)
        with timed(decided):
            knowledge.decide(text)
    many = (texts * (batch // len(texts) + 1))[:batch]
    whole: list[float] = []
    together: list[float] = []
    with timed(together):
        bare.encode(many, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
    with timed(whole):
        knowledge.decide_many(many)
    return {
        "decide, median ms": round(median(decided) * 1e3, 2),
        "encode, median ms": round(median(encoded) * 1e3, 2),
        "decide to encode": round(median(decided) / median(encoded), 2),
        "decide_many, queries a second": round(batch / whole[0], 1),
        "batched encode, queries a second": round(batch / together[0], 1),
        "decide_many to batched encode": round(together[0] / whole[0], 3),
    }


if __name__ == "__main__":
    main()
