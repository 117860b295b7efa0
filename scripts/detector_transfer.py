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
    Case,
    RememberingReader,
    find_candidates,
    joined,
    read_cases,
    read_facts,
    sample,
    score,
)
from scr.retrieval import load_embedder


def source_of(case: Case) -> str:
    """Return the source that a query was drawn from."""
    return case.category.partition("/")[0]


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
    asked = list(zip(cases, found, strict=True))
    table: dict[str, Any] = {}
    for source in sorted(set(map(source_of, cases))):
        left_out = [pair for pair in asked if source_of(pair[0]) == source]
        seen = [pair for pair in asked if source_of(pair[0]) != source]
        samples = joined([own, sample([c for c, _ in seen], [f for _, f in seen])])
        weights = {
            **fit(samples, reader, seed=arguments.seed),
            "threshold": THRESHOLD,
            "version": source,
        }
        detector = TreeDetector(weights, reader=None if arguments.no_reader else reader)
        decisions = [detector(case.query, candidates) for case, candidates in left_out]
        scores = score([case for case, _ in left_out], decisions)._asdict()
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
