"""Drafts, and moves of many facts at once."""

import pytest

from scr.errors import FactConflict, FactNotFound, InvalidInput, OwnProposal, TransitionRefused
from scr.facts import make_fact
from scr.store import Store, tasks


def test_a_draft_is_worked_at_proposed_and_approved(store, ceo):
    drafted = store.draft(ceo(id="head"), by="ann")
    assert (drafted.status, drafted.action) == ("draft", "draft")
    with pytest.raises(TransitionRefused, match="propose it first"):
        store.approve("head", by="bob")
    assert store.revise("head", {"note": "x"}, by="ann").status == "draft"
    assert [t.queue for t in tasks(store.list(status="draft"), drafted.at, ["drafts"])] == [
        "drafts"
    ]
    submitted = store.submit("head", by="ann")
    assert (submitted.status, submitted.previous_status) == ("proposed", "draft")
    with pytest.raises(TransitionRefused, match="only drafts"):
        store.submit("head", by="ann")
    assert store.undo(submitted.sequence, by="ann")[0].status == "draft"
    store.submit("head", by="ann")
    assert store.approve("head", by="bob").status == "approved"


def test_a_draft_stays_one_in_a_store_for_review(review, ceo):
    review.draft(ceo(id="head"), by="ann")
    assert review.revise("head", {"note": "x"}, by="ann").status == "draft"


def test_four_eyes_look_at_drafts_too(tmp_path, ceo):
    with Store.create(tmp_path / "x.db", review=True, four_eyes=True) as store:
        store.draft(ceo(id="head"), by="ann")
        store.submit("head", by="bob")
        for name in ("ann", "bob"):
            with pytest.raises(OwnProposal):
                store.approve("head", by=name)
        assert store.approve("head", by="cy").status == "approved"


def test_many_facts_are_moved_or_none(store, ceo):
    for number in range(3):
        store.propose(make_fact(id=f"f{number}", statement=f"{number}."), by="ann")
    store.propose(ceo(id="one"), by="ann")
    store.propose(ceo("Bob", id="two"), by="ann")
    before = store.sequence
    for ids, error in (
        (["f0", "one", "two"], FactConflict),
        (["f0", "none"], FactNotFound),
        (["f0", "f0"], TransitionRefused),
    ):
        with pytest.raises(error):
            store.move(ids, "approve", by="bob")
        assert store.sequence == before
    moved = store.move(["f2", "f0", "one"], "approve", by="bob", why="all seen")
    assert [(r.fact.id, r.status, r.why) for r in moved] == [
        (name, "approved", "all seen") for name in ("f2", "f0", "one")
    ]
    assert len({r.at for r in moved}) == 1
    store.move(["f0", "f1"], "retire", by="bob")
    assert {r.fact.id for r in store.list(status="retired")} == {"f0", "f1"}


def test_a_wrong_value_is_replaced_at_once_or_not_at_all(review):
    old = review.propose(make_fact(subject="X", relation="head", target="Ada", id="old"), by="ann")
    review.approve("old", by="bo")
    review.propose(make_fact(subject="X", relation="head", target="Cy", id="new"), by="ann")
    review.propose(make_fact(subject="Y", relation="head", target="Cy", id="other"), by="ann")
    before = review.sequence
    with pytest.raises(InvalidInput, match="no longer"):
        review.replace("other", "old", by="bo", why="was never so")
    assert review.sequence == before
    replaced = review.replace("new", "old", by="bo", why="was never so")
    assert replaced.status == "approved"
    assert review.get("old").status == "retired"
    assert review.history("old")[-1].why == "was never so"
    assert old.fact == review.get("old").fact
    with pytest.raises(InvalidInput, match="no longer"):
        review.replace("new", "old", by="bo", why="again")
