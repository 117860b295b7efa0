"""The detector over stores of one fact and of a hundred: is its probability still true?

    python scripts/detector_sizes.py [--stores 400] [--seed 0] [--out PATH]

Stores are drawn from the facts of the selectivity set under SCR_DATA. Each is asked the queries
that its facts answer, as many unanswerable ones that name one of its subjects, and as many that
have nothing to do with it. The decisions of all stores of one size are scored together. A million
facts are `bench_million.py`'s. The shipped detector decides: its trees were fitted to queries of
this set in a store of all its facts, never to stores of these sizes.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from train_detector import RememberingEmbedder

from scr.detection import load_detector
from scr.evaluation.selectivity import (
    Case,
    find_candidates,
    read_cases,
    read_facts,
    score,
)
from scr.facts import Fact, normalize
from scr.records import Decision, Embedder
from scr.retrieval import load_embedder

SIZES = (1, 100)
ASKED = 4  # queries of a kind that a store of one fact is asked


def main() -> None:
    """Draw stores, decide and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--stores", type=int, default=400, help="of one fact; a tenth of a hundred")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    folder = Path(os.environ.get("SCR_DATA", "../shared")) / "selectivity"
    facts, cases = read_facts(folder / "facts.jsonl"), read_cases(folder / "queries.jsonl")
    embedder = RememberingEmbedder(load_embedder("offline"))
    detector = load_detector()
    table: dict[str, Any] = {}
    for size in SIZES:
        stores = list(draw(facts, cases, size, arguments.stores // size or 4, arguments.seed))
        find = partial(found_in, stores, embedder)
        found = embedder.both_passes(find)
        asked: list[Case] = []
        decisions: list[Decision] = []
        for (_, own), candidates in zip(stores, found, strict=True):
            asked += own
            decisions += [detector(c.query, f) for c, f in zip(own, candidates, strict=True)]
        scores = score(asked, decisions)
        table[str(size)] = {
            "stores": len(stores),
            "queries": len(asked),
            "balanced": round(scores.balanced, 4),
            "hit": round(scores.hit, 4),
            "abstain": round(scores.abstain, 4),
            "calibration error": round(scores.ece, 4),
        }
        print(size, json.dumps(table[str(size)]), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def found_in(stores: Sequence[Any], embedder: Embedder) -> list[Any]:
    """Return the candidates of every store's cases."""
    return [find_candidates(held, asked, embedder) for held, asked in stores]


def draw(facts: Sequence[Fact], cases: Sequence[Case], size: int, stores: int, seed: int) -> Any:
    """Yield stores: their facts, and the cases that they are asked."""
    rng = Random(f"{seed}-{size}")
    answered: dict[str, list[Case]] = defaultdict(list)
    naming: dict[str, list[Case]] = defaultdict(list)
    subjects = {normalize(fact.subject): fact for fact in facts if fact.subject}
    for case in cases:
        for gold in case.gold:
            answered[gold].append(case)
        if not case.gold:
            text = normalize(case.query.text)
            for subject, fact in subjects.items():
                if subject in text:
                    naming[fact.id].append(case)
    unanswered = [case for case in cases if not case.gold]
    most = ASKED if size == 1 else ASKED * size
    for _ in range(stores):
        held = rng.sample(facts, size)
        ids = {fact.id for fact in held}
        asked = _some([c for i in ids for c in answered[i]], most, rng)
        asked += _some([c for i in ids for c in naming[i]], most, rng)
        asked += rng.sample(unanswered, min(len(asked), most))
        yield held, [case._replace(gold=case.gold & ids) for case in asked]


def _some(cases: Sequence[Case], most: int, rng: Random) -> list[Case]:
    own = list({id(case): case for case in cases}.values())
    return rng.sample(own, min(len(own), most))


if __name__ == "__main__":
    sys.exit(main())
