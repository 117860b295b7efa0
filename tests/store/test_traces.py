import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from scr.errors import InvalidInput, StoreBusy, StoreCorrupt, TraceNotFound
from scr.records import Query, Trace, TracedMatch
from scr.store import Store


@pytest.fixture
def trace(clock):
    def make(text="Who runs X?", **fields):
        given = {
            "at": clock.now,
            "query_hash": "0" * 64,
            "query": Query(text=text, valid_at=clock.now, as_of=3),
            "scope": "default",
            "valid_at": clock.now,
            "applies": True,
            "probability": 0.9,
            "threshold": 0.5,
            "matches": (
                TracedMatch(fact_id="f", probability=0.9, contributions={"b": 2.5, "a": 0.1}),
            ),
            "injected": ("f",),
            "sequence": 3,
            "detector": "factorized 1",
            "embedder": "e" * 64,
            "timings": {"detection": 0.25},
        }
        return Trace(**{**given, **fields})

    return make


@pytest.mark.parametrize("text", ["Who?", "a\ud800b", "\0", "🦜", "x" * 1_000_000, ""])
def test_a_trace_comes_back_as_it_was(store, trace, text):
    kept = trace(text)
    store.save_traces([kept])
    assert store.trace(kept.id) == kept
    with Store.open(store.path) as other:
        assert other.trace(kept.id) == kept


def test_the_latest_traces_come_first(store, clock, trace):
    kept = []
    for _ in range(5):
        clock.pass_days(0.1)
        kept.append(trace())
        store.save_traces([kept[-1]])
    assert store.traces(3) == kept[:1:-1]
    assert store.traces(0) == []
    with pytest.raises(InvalidInput):
        store.traces(-1)


def test_traces_are_dropped_when_their_time_is_over(store, clock, trace):
    old = trace()
    store.save_traces([old], retention_days=7)
    clock.pass_days(6.9)
    new = trace()
    store.save_traces([new], retention_days=7)
    assert store.traces() == [new, old]
    clock.pass_days(0.2)
    store.save_traces([trace()], retention_days=7)
    with pytest.raises(TraceNotFound):
        store.trace(old.id)
    assert store.trace(new.id) == new


def test_no_retention_keeps_none(store, clock, trace):
    late = trace(at=clock.now + timedelta(hours=1))
    store.save_traces([late], retention_days=0)
    assert store.traces() == []


def test_pruning_needs_no_new_trace(store, clock, trace):
    old = trace()
    store.save_traces([old])
    clock.pass_days(5)
    new, late = trace(), trace(at=clock.now + timedelta(hours=1))
    store.save_traces([new])
    store.save_traces([late])
    store.prune_traces(5.1)
    assert store.traces() == [late, new, old]
    store.prune_traces(5)
    assert store.traces() == [late, new]
    store.prune_traces(float("inf"))
    assert store.traces() == [late, new]
    store.prune_traces(0)
    assert store.traces() == []


def test_a_trace_does_not_wait_for_a_long_write(store, trace):
    kept = trace()
    store.save_traces([kept])
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match=r"for 0\.1 s"):
            store.save_traces([trace()])
        with pytest.raises(StoreBusy, match=r"for 0\.1 s"):
            store.prune_traces(0)
        store.prune_traces(30)  # has nothing to delete
        assert store.trace(kept.id) == kept
        other.execute("ROLLBACK")
    store.save_traces([trace()])
    assert len(store.traces()) == 2


@pytest.mark.parametrize("damage", ["'no json'", "'{}'", "x'ff'", "5"])
def test_a_damaged_trace_is_reported(store, trace, damage):
    kept = trace()
    store.save_traces([kept])
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(f"UPDATE traces SET trace = {damage}")  # noqa: S608
    with pytest.raises(StoreCorrupt):
        store.trace(kept.id)
    with pytest.raises(StoreCorrupt):
        store.traces()


@pytest.mark.parametrize("trace_id", ["none", "", "\ud800", "\0"])
def test_unknown_traces(store, trace_id):
    with pytest.raises((TraceNotFound, InvalidInput)):
        store.trace(trace_id)
