"""The tasks of a store, followed from change to change."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.errors import ScrError
from scr.facts import make_fact
from scr.store import Relation, Store, Worklist, tasks

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENDS = (None, NOW + timedelta(days=5), NOW + timedelta(days=31), NOW - timedelta(days=1))


def fact(fact_id, subject, target, relation="spouse", **fields):
    return make_fact(id=fact_id, subject=subject, relation=relation, target=target, **fields)


def all_tasks(store, now=NOW):
    return tasks(store.list(status=None), now, declared=store.declared)


names = st.sampled_from(["Ada", "Bob", "Cy", "ada"])
facts = st.builds(
    lambda subject, alias, target, relation, questions, end, sources, tests, scope: {
        "subject": subject,
        "aliases": [alias] if alias.casefold() != subject.casefold() else [],
        "target": target,
        "relation": relation,
        "questions": questions,
        "validity": {"end": end},
        "sources": sources,
        "must_fire": tests,
        "scope": scope,
    },
    names,
    names,
    names,
    st.sampled_from(["spouse", "husband or wife", "head"]),
    st.lists(st.sampled_from(["Who is it?", "who IS it?", "And?"]), min_size=1, unique=True),
    st.sampled_from(ENDS),
    st.sampled_from([[], ["s"]]),
    st.sampled_from([[], ["Who?"]]),
    st.sampled_from(["default", "acme"]),
)
ids = st.sampled_from(["a", "b", "c", "d", "e"])
steps = st.one_of(
    st.tuples(st.just("propose"), ids, facts),
    st.tuples(st.just("draft"), ids, facts),
    st.tuples(st.just("succeed"), ids, ids),
    st.tuples(st.just("approve"), ids),
    st.tuples(st.just("retire"), ids),
    st.tuples(st.just("erase"), ids),
    st.tuples(st.just("revise"), ids, facts),
    st.tuples(st.just("declare"), st.booleans()),
    st.tuples(st.just("wait"), st.integers(1, 40)),
)
SPOUSES = Relation(name="spouse", synonyms=("husband or wife",), symmetric=True)


def carry_out(store, step):
    """Do a step; returns how many days pass."""
    kind, *given_ = step
    try:
        match kind:
            case "propose" | "draft":
                getattr(store, kind)(make_fact(id=given_[0], **given_[1]), by="ann")
            case "succeed":
                old = store.get(given_[0]).fact
                heir = old.model_copy(update={"id": given_[1], "supersedes": old.id})
                store.propose(heir, by="ann")
            case "approve" | "retire":
                getattr(store, kind)(given_[0], by="bo")
            case "erase":
                store.erase(given_[0], by="bo", why="law")
            case "revise":
                store.revise(given_[0], given_[1], by="ann")
            case "declare":
                store.declare([SPOUSES] if given_[0] else [])
            case "wait":
                return given_[0]
    except ScrError:  # not possible as the store is: nothing changed
        pass
    return 0


@settings(max_examples=40, deadline=None)
@given(st.lists(steps, min_size=1, max_size=14))
def test_what_is_followed_is_what_is_found_anew(templates, tmp_path_factory, taken):
    now, path = NOW, tmp_path_factory.mktemp("s") / "s.db"
    shutil.copy(templates / "review.db", path)
    with Store.open(path) as store:
        worklist = Worklist(store)
        for step in taken:
            now += timedelta(days=carry_out(store, step))
            assert worklist.tasks(now) == all_tasks(store, now)


def test_a_store_that_was_full_before_is_read_once(tmp_path):
    with Store.create(tmp_path / "s.db") as store:
        store.add(fact("a", "Ada", "Bob"), by="ann")
        store.add(fact("b", "Cy", "Bob", relation="head"), by="ann")
        worklist = Worklist(store, ["unsourced"])
        assert [task.fact_id for task in worklist.tasks(NOW)] == ["a", "b"]
        store.revise("a", {"sources": ["s"]}, by="ann")
        assert [task.fact_id for task in worklist.tasks(NOW)] == ["b"]
        assert {task.queue for task in worklist.tasks(NOW)} == {"unsourced"}


@pytest.mark.parametrize(("days", "expected"), [(0, ["a"]), (6, []), (-40, [])])
def test_what_ends_soon_depends_on_the_day(tmp_path, days, expected):
    with Store.create(tmp_path / "s.db") as store:
        end = NOW + timedelta(days=5)
        store.add(fact("a", "Ada", "Bob", validity={"end": end}), by="ann")
        worklist = Worklist(store, ["expiring"])
        worklist.tasks(NOW)
        found = worklist.tasks(NOW + timedelta(days=days))
        assert [task.fact_id for task in found] == expected
