"""Usage and queues."""

from datetime import UTC, datetime, timedelta

import pytest

from scr.facts import make_fact
from scr.records import Trace, TracedMatch
from scr.store import QUEUES, tasks

NOW = datetime.now(UTC)


def trace(at=NOW, injected=(), near="", probability=0.3):
    found = {"query_hash": "0", "scope": "default", "applies": bool(injected), "probability": 0.1}
    known = {"threshold": 0.5, "sequence": 1, "detector": "d", "embedder": "e", "timings": {}}
    best = TracedMatch(fact_id=near, probability=probability, contributions={}) if near else None
    return Trace(at=at, valid_at=at, injected=injected, runner_up=best, **found, **known)


def counts(store):
    return {u.fact_id: (u.fired, u.near, u.down) for u in store.usage.list()}


@pytest.mark.parametrize("days", [30.0, 0])
def test_uses_near_misses_and_bad_answers_are_counted(store, days):
    later = NOW + timedelta(hours=1)
    store.save_traces(
        [trace(injected=("a", "b")), trace(later, injected=("a",))], retention_days=days
    )
    store.save_traces([trace(near="b"), trace(near="b", probability=0.1)], retention_days=days)
    store.save_traces([trace(injected=("a",), near="b")], retention_days=days)
    store.usage.mark_down(("a",))
    assert counts(store) == {"a": (3, 0, 1), "b": (1, 1, 0)}
    assert len(store.traces()) == (5 if days else 0)
    assert store.usage.list()[0].last is not None
    assert store.sequence == 0


def test_an_erased_fact_has_no_usage(store):
    fact = store.add(make_fact(statement="S."), by="ann").fact
    store.save_traces([trace(injected=(fact.id,))])
    store.erase(fact.id, by="ann", why="law")
    assert counts(store) == {}


def queues(store, *names):
    found = tasks(store.list(status=None), NOW, names)
    return {(task.queue, task.fact_id, task.others) for task in found}


def ceo(target, **fields):
    return make_fact(subject="Company X", relation="head", target=target, sources=["s"], **fields)


def test_queues_name_what_wants_attention(store):
    old = store.add(ceo("Ada", id="old", questions=["Who leads it?"]), by="ann").fact
    store.propose(ceo("Bob", id="rival", questions=["Who is it?"]), by="bo")
    store.propose(ceo("Cy", id="heir", supersedes="old", questions=["And?"]), by="bo")
    store.add(make_fact(id="bare", statement="S.", questions=["who LEADS  it?"]), by="ann")
    end = NOW + timedelta(days=3)
    store.add(
        make_fact(
            id="brief",
            subject="Y",
            aliases=["company x"],
            relation="fee",
            target="3",
            sources=["s"],
            validity={"end": end},
        ),
        by="ann",
    )
    assert queues(store, "waiting") == {("waiting", "rival", ()), ("waiting", "heir", ())}
    assert queues(store, "conflicts") == {("conflicts", "rival", (old.id,))}
    assert {q[1:] for q in queues(store, "duplicates")} in (
        {("old", ("bare",))},
        {("bare", ("old",))},
    )
    assert queues(store, "unsourced") == {("unsourced", "bare", ())}
    assert queues(store, "expiring") == {("expiring", "brief", ())}
    assert {frozenset((q[1], *q[2])) for q in queues(store, "ambiguous")} == {
        frozenset(("old", "brief"))
    }
    assert {q[1] for q in queues(store, "untested")} == {"rival", "heir"}
    assert queues(store) == {task for name in QUEUES for task in queues(store, name)}
