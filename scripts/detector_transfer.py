"""Fit the detector without a source and score it on that source, for each source of the set.

    python scripts/detector_transfer.py [--seed 0] [--folds 5] [--no-reader] [--out PATH]

A team's own facts are always a source never seen, so this is the table that matters. All facts are
in the store at once; the threshold is fixed beforehand. UnKEBench's long texts are one source too.
With `--folds` the shipped recipe is also cross-validated by fact over all sources. Both fit as
`train_detector.py` does, but for the small stores cut out of the set.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from train_detector import (
    CROSSED,
    CROSSED_WEIGHT,
    MADE_STORES,
    MADE_WEIGHT,
    THRESHOLD,
    RememberingEmbedder,
    crossed,
    made,
    weighed,
)

from scr.detection import TreeDetector
from scr.detection.fitting import fit
from scr.detection.reader import load_reader
from scr.evaluation.selectivity import (
    Case,
    RememberingReader,
    cross_validated,
    find_candidates,
    joined,
    read_cases,
    read_facts,
    sample,
    score,
)
from scr.records import Decision
from scr.retrieval import load_embedder


def source_of(case: Case) -> str:
    """Return the source that a query was drawn from."""
    return case.category.partition("/")[0]


def figures(cases: Sequence[Case], decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return the scores of decisions, rounded."""
    scores = score(cases, decisions)._asdict()
    return {n: round(v, 4) if isinstance(v, float) else v for n, v in scores.items()}


def main() -> None:
    """Fit, score and print a line of figures for each source."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", type=int, help="cross-validate the recipe too")
    parser.add_argument("--no-reader", action="store_true", help="let the features alone decide")
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    arguments = parser.parse_args()
    embedder = RememberingEmbedder(load_embedder("offline"))
    reader = RememberingReader(load_reader())
    folder = Path(os.environ.get("SCR_DATA", "../shared")) / "selectivity"
    facts, cases = read_facts(folder / "facts.jsonl"), read_cases(folder / "queries.jsonl")
    stores = embedder.both_passes(lambda: list(made(embedder, arguments.seed, MADE_STORES)))
    own = joined([weighed(sample(*part), MADE_WEIGHT) for part in stores])
    number = len(cases)
    cases += crossed(facts, embedder, CROSSED, arguments.seed)
    worth = np.where(np.arange(len(cases)) < number, 1.0, CROSSED_WEIGHT)
    found = find_candidates(facts, cases, embedder)
    sources = np.array([source_of(case) for case in cases])
    table: dict[str, Any] = {}
    for source in sorted(set(sources[:number])):
        seen = [place for place in range(len(cases)) if sources[place] != source]
        learned = sample([cases[place] for place in seen], [found[place] for place in seen])
        learned = learned._replace(weights=worth[seen][learned.queries])
        weights = {
            **fit(joined([own, learned]), reader, seed=arguments.seed),
            "threshold": THRESHOLD,
            "version": source,
        }
        detector = TreeDetector(weights, reader=None if arguments.no_reader else reader)
        left_out = [place for place in range(number) if sources[place] == source]
        decisions = [detector(cases[place].query, found[place]) for place in left_out]
        table[source] = figures([cases[place] for place in left_out], decisions)
        print(source, json.dumps(table[source]), flush=True)
    if arguments.folds:
        every = cross_validated(
            cases,
            found,
            arguments.folds,
            reader,
            THRESHOLD,
            use_reader=not arguments.no_reader,
            weights=worth,
            beside=own,
        )
        name = f"{arguments.folds} folds"
        table[name] = figures(cases[:number], every[:number])
        print(name, json.dumps(table[name]), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    json.dump({name: row["balanced"] for name, row in table.items()}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
