"""Undoing, comments, four eyes, erasure."""

from datetime import UTC, datetime

import pytest

from scr.errors import FactConflict, InvalidInput, OwnProposal, TransitionRefused
from scr.facts import make_fact
from scr.records import Trace
from scr.store import Store


def ceo(target, **fields):
    return make_fact(subject="Company X", relation="head", target=target, **fields)


def state(store):
    return {r.fact.id: (r.status, r.fact) for r in store.list(status=None)}


def test_undoing_an_addition_retires_it(store):
    added = store.add(ceo("Ada"), by="ann")
    (undone,) = store.undo(added.sequence, by="bo", why="wrong")
    assert (undone.action, undone.status, undone.by) == ("undo", "retired", "bo")
    with pytest.raises(TransitionRefused, match="nothing is left"):
        store.undo(added.sequence, by="bo")


@pytest.mark.parametrize("change", [{"note": "n"}, {"aliases": ("CX",)}, {"statement": "New."}])
def test_undoing_a_revision_brings_back_what_was(store, change):
    fact = store.add(ceo("Ada"), by="ann").fact
    before = state(store)
    revised = store.revise(fact.id, change, by="ann")
    store.undo(revised.sequence, by="ann")
    assert state(store) == before


def test_what_was_changed_later_stays(store):
    fact = store.add(ceo("Ada"), by="ann").fact
    first = store.revise(fact.id, {"note": "one"}, by="ann")
    store.revise(fact.id, {"tags": ("x",)}, by="ann")
    store.undo(first.sequence, by="ann")
    assert (store.get(fact.id).fact.note, store.get(fact.id).fact.tags) == ("", ("x",))
    again = store.revise(fact.id, {"note": "two"}, by="ann")
    store.revise(fact.id, {"note": "three"}, by="ann")
    with pytest.raises(TransitionRefused, match="note was changed again"):
        store.undo(again.sequence, by="ann")


def test_undoing_a_successor_opens_what_it_closed(store):
    old = store.add(ceo("Ada"), by="ann").fact
    new = store.add(ceo("Bob", supersedes=old.id), by="ann")
    assert store.get(old.id).fact.validity.end is not None
    undone = store.undo(new.sequence, by="ann")
    assert [r.fact.id for r in undone] == [new.fact.id, old.id]
    assert store.get(old.id).fact == old
    assert store.get(new.fact.id).status == "retired"


def test_undoing_a_retirement_meets_whatever_took_its_place(store):
    old = store.add(ceo("Ada"), by="ann").fact
    gone = store.retire(old.id, by="ann")
    (back,) = store.undo(gone.sequence, by="ann")
    assert back.status == "approved"
    gone = store.retire(old.id, by="ann")
    store.add(ceo("Bob"), by="ann")
    with pytest.raises(FactConflict):
        store.undo(gone.sequence, by="ann")


def test_in_a_store_for_review_what_would_apply_again_waits(tmp_path):
    with Store.create(tmp_path / "facts.db", review=True) as store:
        fact = store.add(ceo("Ada"), by="ann").fact
        store.approve(fact.id, by="bo")
        gone = store.retire(fact.id, by="ann")
        assert store.undo(gone.sequence, by="ann")[0].status == "proposed"


@pytest.mark.parametrize("number", [0, 99])
def test_only_changes_can_be_undone(store, number):
    fact = store.add(ceo("Ada"), by="ann").fact
    comment = store.comment(fact.id, "hm", by="bo")
    for wrong in (number, comment.sequence):
        with pytest.raises(InvalidInput):
            store.undo(wrong, by="ann")


def test_a_comment_changes_nothing_but_the_history(store):
    fact = store.add(ceo("Ada"), by="ann").fact
    before = state(store)
    store.comment(fact.id, "Is this still so?", by="bo")
    assert state(store) == before
    assert [(r.action, r.why) for r in store.history(fact.id)][-1] == (
        "comment",
        "Is this still so?",
    )
    with pytest.raises(InvalidInput):
        store.comment(fact.id, "  ", by="bo")


def test_nobody_approves_their_own_proposal_where_four_eyes_are_asked_for(tmp_path):
    with pytest.raises(InvalidInput):
        Store.create(tmp_path / "no.db", four_eyes=True)
    with Store.create(tmp_path / "facts.db", review=True, four_eyes=True) as store:
        fact = store.add(ceo("Ada"), by="ann").fact
        with pytest.raises(OwnProposal, match="ann proposed"):
            store.approve(fact.id, by="ann")
        store.comment(fact.id, "fine with me", by="bo")
        store.approve(fact.id, by="bo")
        store.revise(fact.id, {"note": "x"}, by="bo")
        with pytest.raises(OwnProposal):
            store.approve(fact.id, by="bo")
        assert store.approve(fact.id, by="ann").status == "approved"
    with Store.open(tmp_path / "facts.db") as again:
        fact = again.add(make_fact(statement="S."), by="ann").fact
        with pytest.raises(OwnProposal):
            again.approve(fact.id, by="ann")


NAME = "Zebrawood"
NOW = datetime.now(UTC)


def trace(**fields):
    found = {"query_hash": "0", "scope": "default", "applies": False, "probability": 0.1}
    known = {
        "threshold": 0.5,
        "sequence": 1,
        "detector": "d",
        "embedder": "e",
        "timings": {},
        "valid_at": NOW,
    }
    return Trace(at=NOW, **found, **known, **fields)


def test_an_erased_facts_words_are_nowhere_in_the_file(tmp_path):
    path = tmp_path / "facts.db"
    with Store.open(path, create=True) as store:
        other = store.add(make_fact(statement="The office is open."), by="ann").fact
        fact = store.add(ceo(NAME, note=f"call {NAME}"), by="ann", why=f"{NAME} said so").fact
        store.revise(fact.id, {"aliases": (f"{NAME} Inc",)}, by="ann")
        kept, named = trace(), trace(injected=(fact.id,))
        store.save_traces([kept, named])
        with pytest.raises(InvalidInput, match="needs a reason"):
            store.erase(fact.id, by="dpo", why=" ")
        assert NAME.encode() in b"".join(p.read_bytes() for p in tmp_path.iterdir())
        gone = store.erase(fact.id, by="dpo", why="request 17")
        assert (gone.status, gone.fact.statement, gone.why) == ("retired", "[erased]", "request 17")
        assert [r.action for r in store.history(fact.id)] == ["add", "revise", "erase"]
        assert NAME not in str(store.history(fact.id))
        assert NAME not in str(store.list(as_of=2, status=None))
        assert store.search(NAME) == []
        assert [t.id for t in store.traces()] == [kept.id]
        assert store.get(other.id).fact == other
        assert NAME.lower().encode() not in b"".join(
            p.read_bytes().lower() for p in tmp_path.iterdir()
        )
        assert store.add(ceo("Bob"), by="ann").status == "approved"
