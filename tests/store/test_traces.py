from datetime import timedelta

import pytest

from scr.errors import InvalidInput, TraceNotFound
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
    store.save_trace(kept)
    assert store.trace(kept.id) == kept
    with Store.open(store.path) as other:
        assert other.trace(kept.id) == kept


def test_the_latest_traces_come_first(store, clock, trace):
    kept = []
    for _ in range(5):
        clock.pass_days(0.1)
        kept.append(trace())
        store.save_trace(kept[-1])
    assert store.traces(3) == kept[:1:-1]
    assert store.traces(0) == []
    with pytest.raises(InvalidInput):
        store.traces(-1)


def test_traces_are_dropped_when_their_time_is_over(store, clock, trace):
    old = trace()
    store.save_trace(old, retention_days=7)
    clock.pass_days(6.9)
    new = trace()
    store.save_trace(new, retention_days=7)
    assert store.traces() == [new, old]
    clock.pass_days(0.2)
    store.save_trace(trace(), retention_days=7)
    with pytest.raises(TraceNotFound):
        store.trace(old.id)
    assert store.trace(new.id) == new


def test_no_retention_keeps_none(store, clock, trace):
    late = trace(at=clock.now + timedelta(hours=1))
    store.save_trace(late, retention_days=0)
    assert store.traces() == []


@pytest.mark.parametrize("trace_id", ["none", "", "\ud800", "\0"])
def test_unknown_traces(store, trace_id):
    with pytest.raises((TraceNotFound, InvalidInput)):
        store.trace(trace_id)
