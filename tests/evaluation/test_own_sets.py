"""Our own query sets are sound: they load, and say what their readers need."""

import json
from collections import Counter
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "eval" / "selectivity"
SETS = [
    ("company.facts.jsonl", ["company.dev.jsonl", "company.sealed.jsonl"], 100, 600, 30),
    ("directions.facts.jsonl", ["directions.queries.jsonl"], 70, 360, 60),
]


def _lines(name):
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("facts", "queries", "least_facts", "least", "each"), SETS)
def test_every_query_names_facts_that_exist(facts, queries, least_facts, least, each):
    known = _lines(facts)
    ids = {fact["id"] for fact in known}
    assert len(ids) == len(known) >= least_facts
    for fact in known:
        assert all(
            fact[field] for field in ("subject", "relation", "target", "statement", "prompt")
        )
    asked = {name: _lines(name) for name in queries}
    everything = [query for lines in asked.values() for query in lines]
    assert len(everything) >= least
    assert all(set(query["gold"]) <= ids for query in everything)
    words = [(query["query"], json.dumps(query.get("history"))) for query in everything]
    assert len(set(words)) == len(words)
    for lines in asked.values():
        counts = Counter(query["category"] for query in lines)
        assert min(counts.values()) >= each, counts


def test_the_sealed_half_is_about_other_facts():
    halves = [
        {fact for query in _lines(name) for fact in query["gold"]}
        for name in ("company.dev.jsonl", "company.sealed.jsonl")
    ]
    assert halves[0].isdisjoint(halves[1])
