"""Fit the detector without a source and score it on that source, for each source of the set.

    python scripts/detector_transfer.py [--seed 0] [--no-reader] [--out PATH]

A team's own facts are always a source never seen, so this is the table that matters. All facts are
in the store at once; the threshold is fixed beforehand. UnKEBench's long texts are one source too.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from train_detector import MADE_STORES, MADE_WEIGHT, THRESHOLD, RememberingEmbedder, made

from scr.detection import TreeDetector
from scr.detection.fitting import fit
from scr.detection.reader import load_reader
from scr.evaluation.selectivity import (
    RememberingReader,
    find_candidates,
    joined,
    read_cases,
    read_facts,
    sample,
    score,
)
from scr.retrieval import load_embedder


def main() -> None:
    """Fit, score and print a line of figures for each source."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-reader", action="store_true", help="let the features alone decide")
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    arguments = parser.parse_args()
    embedder = RememberingEmbedder(load_embedder("offline"))
    reader = RememberingReader(load_reader())
    folder = Path(os.environ.get("SCR_DATA", "../shared")) / "selectivity"
    facts, cases = read_facts(folder / "facts.jsonl"), read_cases(folder / "queries.jsonl")
    found = find_candidates(facts, cases, embedder)
    stores = embedder.both_passes(lambda: list(made(embedder, arguments.seed, MADE_STORES)))
    own = joined([sample(*part) for part in stores])
    own = own._replace(weights=np.full(len(own.labels), MADE_WEIGHT))
    sources = sorted({case.category.partition("/")[0] for case in cases})
    table: dict[str, Any] = {}
    for source in sources:
        inside = [case.category.partition("/")[0] == source for case in cases]
        seen = [
            pair
            for pair, left in zip(zip(cases, found, strict=True), inside, strict=True)
            if not left
        ]
        held = [
            pair for pair, left in zip(zip(cases, found, strict=True), inside, strict=True) if left
        ]
        samples = joined([own, sample([c for c, _ in seen], [f for _, f in seen])])
        weights = {
            **fit(samples, reader, seed=arguments.seed),
            "threshold": THRESHOLD,
            "version": source,
        }
        detector = TreeDetector(weights, reader=None if arguments.no_reader else reader)
        decisions = [detector(case.query, candidates) for case, candidates in held]
        scores = score([case for case, _ in held], decisions)._asdict()
        table[source] = {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in scores.items()
        }
        print(source, json.dumps(table[source]), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    json.dump({source: figures["balanced"] for source, figures in table.items()}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
