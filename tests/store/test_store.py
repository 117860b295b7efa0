from datetime import UTC, datetime, timedelta

import pytest

from scr.errors import (
    FactConflict,
    FactNotFound,
    InvalidInput,
    TransitionRefused,
    UndeclaredRelation,
)
from scr.facts import make_fact


def day(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def span(start=None, end=None):
    return {"start": start, "end": end}


def targets(revisions):
    return [revision.fact.target for revision in revisions]


# Adding


def test_an_added_fact_is_approved_and_recorded(store, clock, ceo):
    revision = store.add(ceo(), by="ann", why="press release")
    assert (revision.sequence, revision.action, revision.status) == (1, "add", "approved")
    assert (revision.by, revision.why, revision.at) == ("ann", "press release", clock.now)
    assert revision.previous_status is None
    assert store.get(revision.fact.id) == revision
    assert store.sequence == 1


def test_an_id_is_given_once(store, ceo):
    store.add(ceo(id="x"), by="ann")
    with pytest.raises(InvalidInput, match="revise"):
        store.add(make_fact(id="x", statement="Something else."), by="ann")
    assert store.sequence == 1


def test_a_filled_slot_names_the_rival(store, ceo):
    rival = store.add(ceo("Ada"), by="ann").fact
    with pytest.raises(FactConflict) as caught:
        store.add(ceo("Bob", subject=" COMPANY x", relation="Chief  Executive"), by="bob")
    error = caught.value
    assert (error.rival_id, error.rival_target, error.target) == (rival.id, "Ada", "Bob")
    assert rival.id in str(error)
    assert store.sequence == 1


@pytest.mark.parametrize(
    "other",
    [
        {"scope": "acme"},
        {"rank": "preferred"},
        {"rank": "deprecated"},
        {"kind": "forget"},
        {"subject": "Company Y"},
        {"relation": "founder"},
        {"validity": span(end="2020-01-01")},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_differs_in_slot_rank_kind_or_time_does_not_conflict(store, ceo, other):
    store.add(ceo("Ada", validity=span("2020-01-01")), by="ann")
    assert store.add(ceo("Bob", **other), by="bob").status == "approved"


def test_deprecated_facts_never_conflict(store, ceo):
    store.add(ceo("Ada", rank="deprecated"), by="ann")
    store.add(ceo("Bob", rank="deprecated"), by="ann")
    assert store.add(ceo("Cid"), by="ann").status == "approved"


def test_only_approved_facts_conflict(store, ceo):
    proposed = store.propose(ceo("Ada"), by="ann").fact
    retired = store.add(ceo("Bob"), by="ann").fact
    store.retire(retired.id, by="ann")
    store.add(ceo("Cid"), by="ann")
    with pytest.raises(FactConflict):
        store.approve(proposed.id, by="ann")


@pytest.mark.parametrize("field", ["by", "why"])
@pytest.mark.parametrize("text", ["\0", "\ud800"])
def test_authors_and_reasons_must_be_text(store, ceo, field, text):
    with pytest.raises(InvalidInput, match=field):
        store.add(ceo(), **{"by": "ann", field: text})
    assert store.sequence == 0


def test_a_closed_store_knows_its_relations_only(closed, ceo):
    assert closed.relations == ("Chief Executive", "capital")
    assert closed.add(ceo(), by="ann").status == "approved"
    assert closed.add(make_fact(statement="No relation at all."), by="ann").status == "approved"
    for change in (closed.add, closed.propose):
        with pytest.raises(UndeclaredRelation, match=r"'founder' is not declared.*capital"):
            change(ceo(relation="founder"), by="ann")
    assert closed.sequence == 2


# Superseding


def test_superseding_ends_the_old_value_where_the_new_one_starts(store, ceo):
    old = store.add(ceo("Ada", validity=span("2020-01-01")), by="ann").fact
    new = store.add(ceo("Bob", supersedes=old.id, validity=span("2024-03-01")), by="bob")
    assert new.action == "supersede"
    assert [r.action for r in store.history(old.id)] == ["add", "close"]
    assert store.get(old.id).fact.validity.end == day("2024-03-01")
    assert targets(store.list(valid_at=day("2024-02-29"))) == ["Ada"]
    assert targets(store.list(valid_at=day("2024-03-01"))) == ["Bob"]
    assert targets(store.list(valid_at=day("2019-01-01"))) == []


def test_a_successor_without_start_starts_now(store, clock, ceo):
    old = store.add(ceo("Ada"), by="ann").fact
    clock.pass_days(1)
    new = store.add(ceo("Bob", supersedes=old.id), by="ann")
    assert new.fact.validity.start == store.get(old.id).fact.validity.end == new.at == clock.now


def test_both_halves_of_superseding_share_one_store_time(store, clock, ceo):
    old = store.add(ceo("Ada"), by="ann").fact
    clock.pass_days(1)
    new = store.add(ceo("Bob", supersedes=old.id), by="ann")
    assert store.get(old.id).at == new.at
    assert targets(store.list(as_of=new.at - timedelta(microseconds=1))) == ["Ada"]


def test_an_end_that_comes_first_stays(store, ceo):
    old = store.add(ceo("Ada", validity=span(None, "2022-01-01")), by="ann").fact
    store.add(ceo("Bob", supersedes=old.id, validity=span("2024-01-01")), by="ann")
    assert store.history(old.id)[-1].action == "add"


def test_a_value_can_be_superseded_at_once(store, ceo):
    fact = store.add(ceo("0"), by="ann").fact
    for turn in range(1, 5):  # the clock stands still
        fact = store.add(ceo(str(turn), supersedes=fact.id), by="ann").fact
    assert targets(store.list(valid_at=fact.validity.start)) == ["4"]


def test_a_successor_starts_now_even_where_the_clock_stepped_back(store, clock, ceo):
    old = store.add(ceo("Ada"), by="ann")
    clock.pass_days(-1 / 24)
    new = store.add(ceo("Bob", supersedes=old.fact.id), by="ann")
    assert new.fact.validity.start == store.get(old.fact.id).fact.validity.end == clock.now
    assert old.at < new.at  # store time goes on
    assert targets(store.list(valid_at=clock.now)) == ["Bob"]
    assert targets(store.list(valid_at=clock.now, as_of=old.at)) == ["Ada"]


def test_a_proposal_approved_after_the_clock_stepped_back_starts_now(store, clock, ceo):
    old = store.add(ceo("Ada"), by="ann").fact
    new = store.propose(ceo("Bob", supersedes=old.id), by="ann").fact
    clock.pass_days(-1 / 24)
    assert store.approve(new.id, by="bob").fact.validity.start == clock.now


def test_a_value_from_before_the_clock_stepped_back_can_be_superseded(store, clock, ceo):
    first = store.add(ceo("Ada"), by="ann").fact
    second = store.add(ceo("Bob", supersedes=first.id), by="ann").fact
    clock.pass_days(-1 / 24)
    third = store.add(ceo("Cid", supersedes=second.id), by="ann").fact
    assert third.validity.start == second.validity.start + timedelta(microseconds=1)
    assert targets(store.list(valid_at=third.validity.start)) == ["Cid"]


def test_a_value_that_begins_later_needs_a_later_successor(store, clock, ceo):
    old = store.add(ceo("Ada", validity=span(clock.now + timedelta(days=9))), by="ann").fact
    with pytest.raises(InvalidInput, match="give it a later start"):
        store.add(ceo("Bob", supersedes=old.id), by="ann")


def test_long_texts_are_superseded_too(store, clock):
    old = store.add(make_fact(kind="text", statement="Refunds in 30 days."), by="ann").fact
    clock.pass_days(1)
    store.add(make_fact(kind="text", statement="In 14 days.", supersedes=old.id), by="ann")
    assert [r.fact.statement for r in store.list(valid_at=clock.now)] == ["In 14 days."]


def refused_successions(ceo):
    return {
        "missing": (ceo("Bob", supersedes="none"), FactNotFound, "none"),
        "retired": (ceo("Bob", supersedes="retired"), TransitionRefused, "retired"),
        "proposed": (ceo("Bob", supersedes="proposed"), TransitionRefused, "approve proposed"),
        "earlier": (
            ceo("Bob", supersedes="old", validity=span("2019-01-01")),
            InvalidInput,
            "only from 2020-01-01",
        ),
        "same start": (
            ceo("Bob", supersedes="old", validity=span("2020-01-01")),
            InvalidInput,
            "only from 2020-01-01",
        ),
        "already over": (
            ceo("Bob", supersedes="old", validity=span(None, "2025-01-01")),
            InvalidInput,
            "ends at",
        ),
        "other scope": (ceo("Bob", supersedes="old", scope="acme"), InvalidInput, "scope"),
        "in the way": (
            ceo("Bob", supersedes="other", validity=span("2024-01-01")),
            FactConflict,
            "Ada",
        ),
    }


@pytest.mark.parametrize("case", list(refused_successions(lambda *_, **__: None)))
def test_a_refused_succession_leaves_everything_as_it_was(store, ceo, case):
    store.add(ceo("Ada", id="old", validity=span("2020-01-01")), by="ann")
    store.add(ceo("Eve", id="other", subject="Company Y"), by="ann")
    store.add(ceo("Ada", id="retired", scope="b"), by="ann")
    store.retire("retired", by="ann")
    store.propose(ceo("Ada", id="proposed"), by="ann")
    before = list(store.changes(0))
    fact, error, message = refused_successions(ceo)[case]
    with pytest.raises(error, match=message):
        store.add(fact, by="bob")
    assert list(store.changes(0)) == before


# Revising


def test_revising_changes_the_wording_of_the_same_fact(store, ceo):
    fact = store.add(ceo(), by="ann").fact
    revision = store.revise(fact.id, {"statement": "Ada runs X.", "aliases": ["X"]}, by="bob")
    assert (revision.action, revision.status, revision.sequence) == ("revise", "approved", 2)
    assert revision.fact.statement == "Ada runs X."
    assert [r.fact.aliases for r in store.history(fact.id)] == [(), ("X",)]


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "Bob"},
        {"subject": "Company Y"},
        {"relation": "founder"},
        {"kind": "forget"},
        {"scope": "acme"},
        {"id": "other"},
        {"supersedes": "other"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_new_value_is_no_revision(store, ceo, changes):
    fact = store.add(ceo(), by="ann").fact
    with pytest.raises(InvalidInput, match="a new value is a new fact"):
        store.revise(fact.id, changes, by="bob")
    assert store.sequence == 1


@pytest.mark.parametrize("changes", [{"color": "red"}, {"rank": "best"}, {"validity": 5}])
def test_a_revision_that_makes_no_sense_is_refused(store, ceo, changes):
    fact = store.add(ceo(), by="ann").fact
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        store.revise(fact.id, changes, by="bob")


def test_revising_nothing_records_nothing(store, ceo):
    added = store.add(ceo(), by="ann")
    assert store.revise(added.fact.id, {"target": "Ada", "note": ""}, by="bob") == added
    assert store.sequence == 1


def test_a_validity_cannot_be_widened_into_a_conflict(store, ceo):
    fact = store.add(ceo("Ada", validity=span(None, "2020-01-01")), by="ann").fact
    store.add(ceo("Bob", validity=span("2020-01-01")), by="ann")
    with pytest.raises(FactConflict):
        store.revise(fact.id, {"validity": {}}, by="ann")
    assert store.revise(fact.id, {"validity": {"end": "2019-01-01"}}, by="ann").sequence == 3


# Review


def test_a_store_for_review_proposes(review, ceo):
    assert review.review
    revision = review.add(ceo(), by="ann")
    assert (revision.action, revision.status) == ("propose", "proposed")
    assert review.list() == []
    approved = review.approve(revision.fact.id, by="bob", why="checked")
    assert (approved.previous_status, approved.status, approved.by) == (
        "proposed",
        "approved",
        "bob",
    )
    assert targets(review.list()) == ["Ada"]


def test_a_revision_needs_review_too(review, ceo):
    fact = review.add(ceo(), by="ann").fact
    review.approve(fact.id, by="bob")
    revision = review.revise(fact.id, {"statement": "Anything."}, by="mallory")
    assert (revision.previous_status, revision.status) == ("approved", "proposed")
    assert review.approve(fact.id, by="bob").fact.statement == "Anything."


def test_a_proposed_successor_closes_nothing_until_it_is_approved(review, clock, ceo):
    old = review.add(ceo("Ada"), by="ann").fact
    new = review.add(ceo("Bob", supersedes=old.id), by="ann").fact
    with pytest.raises(TransitionRefused, match=f"approve {old.id} first"):
        review.approve(new.id, by="bob")
    review.approve(old.id, by="bob")
    assert review.get(old.id).fact.validity.end is None
    clock.pass_days(1)
    approved = review.approve(new.id, by="bob")
    assert approved.fact.validity.start == review.get(old.id).fact.validity.end == clock.now


def test_a_successor_that_was_approved_once_closes_nothing_again(review, clock, ceo):
    old = review.add(ceo("Ada"), by="ann").fact
    review.approve(old.id, by="bob")
    new = review.add(ceo("Bob", supersedes=old.id), by="ann").fact
    clock.pass_days(1)
    start = review.approve(new.id, by="bob").fact.validity.start
    review.retire(old.id, by="bob")
    clock.pass_days(1)
    review.revise(new.id, {"note": "better"}, by="ann")
    assert review.approve(new.id, by="bob").fact.validity.start == start


def test_a_proposal_is_checked_for_what_it_supersedes(review, ceo):
    with pytest.raises(FactNotFound):
        review.add(ceo("Bob", supersedes="none"), by="ann")


def test_approving_checks_for_conflicts(review, ceo):
    facts = [review.add(ceo(target), by="ann").fact for target in ("Ada", "Bob")]
    review.approve(facts[0].id, by="ann")
    with pytest.raises(FactConflict) as caught:
        review.approve(facts[1].id, by="ann")
    assert caught.value.rival_id == facts[0].id


@pytest.mark.parametrize(
    ("move", "status"),
    [
        ("approve", "approved"),
        ("approve", "retired"),
        ("retire", "retired"),
        ("revise", "retired"),
    ],
)
def test_moves_that_a_status_does_not_allow(store, ceo, move, status):
    fact = store.add(ceo(), by="ann").fact
    if status == "retired":
        store.retire(fact.id, by="ann")
    before = store.sequence
    changes = [{"note": "n"}] if move == "revise" else []
    with pytest.raises(TransitionRefused, match=f"cannot {move} .*{status}"):
        getattr(store, move)(fact.id, *changes, by="bob")
    assert store.sequence == before


@pytest.mark.parametrize("fact_id", ["none", "", "\ud800", "\0", "' OR 1=1 --", "x" * 1_000_000])
def test_unknown_ids(store, fact_id):
    for call in (store.get, store.history):
        with pytest.raises((FactNotFound, InvalidInput)):
            call(fact_id)
    for change in (store.approve, store.retire):
        with pytest.raises((FactNotFound, InvalidInput)):
            change(fact_id, by="ann")
    assert store.sequence == 0


# Reading


def test_as_of_shows_the_store_as_it_was(store, clock, ceo):
    first = store.add(ceo("Ada"), by="ann")
    clock.pass_days(1)
    second = store.add(ceo("Bob", supersedes=first.fact.id), by="ann")
    clock.pass_days(1)
    third = store.retire(second.fact.id, by="ann")
    for moment in (1, first.at, third.at - timedelta(days=1, microseconds=1)):
        assert targets(store.list(as_of=moment)) == ["Ada"]
        assert store.get(first.fact.id, as_of=moment).fact.validity.end is None
        with pytest.raises(FactNotFound):
            store.get(second.fact.id, as_of=moment)
    assert targets(store.list(as_of=second.at)) == ["Ada", "Bob"]
    assert targets(store.list(as_of=third.sequence)) == targets(store.list()) == ["Ada"]
    assert store.list(as_of=0) == store.list(as_of=-1) == store.list(as_of=day("2000-01-01")) == []
    assert store.list(as_of=10**30) == store.list()


def test_sequence_at_an_instant(store, clock, ceo):
    start = clock.now
    store.add(ceo(), by="ann")
    clock.pass_days(1)
    store.add(ceo(scope="a"), by="ann")
    instants = [start - timedelta(seconds=1), start, start + timedelta(hours=1), clock.now]
    assert [store.sequence_at(instant) for instant in instants] == [0, 1, 1, 2]


def test_times_need_a_zone(store):
    naive = datetime(2024, 1, 1)  # noqa: DTZ001
    for arguments in ({"valid_at": naive}, {"as_of": naive}):
        with pytest.raises(InvalidInput, match="time zone"):
            store.list(**arguments)


def test_store_time_grows_even_where_the_clock_steps_back(store, clock, ceo):
    times = []
    for step, scope in [(0, "a"), (-400, "b"), (0, "c"), (500, "d"), (-1, "e")]:
        clock.pass_days(step)
        times.append(store.add(ceo(scope=scope), by="ann").at)
    assert times == sorted(set(times))
    assert [store.sequence_at(at) for at in times] == [1, 2, 3, 4, 5]


def test_a_scope_sees_its_own_facts_and_those_above(store, ceo):
    for scope in ("acme", "acme/support", "acme/sales", "acmes", "default"):
        store.add(ceo(scope=scope, id=scope.replace("/", ".")), by="ann")
    seen = [r.fact.scope for r in store.list(scope="acme/support")]
    assert sorted(seen) == ["acme", "acme/support"]
    assert [r.fact.scope for r in store.list(scope="acme")] == ["acme"]
    assert len(store.list()) == 5


@pytest.mark.parametrize("scope", ["ACME!", "", "acme/", "a b"])
def test_what_is_no_scope_is_refused(store, ceo, scope):
    store.add(ceo(), by="ann")
    for read in (store.list, store.export_pack, lambda scope: store.search("Ada", scope=scope)):
        with pytest.raises(InvalidInput, match="is no scope: use lower-case words"):
            read(scope=scope)


def test_lists_come_in_pages(store, ceo):
    for number in range(7):
        store.add(ceo(id=f"f{number}", scope=f"s{number}"), by="ann")
    ids = [r.fact.id for start in (0, 3, 6) for r in store.list(limit=3, offset=start)]
    assert ids == [f"f{number}" for number in range(7)]
    assert store.list(limit=0) == []
    with pytest.raises(InvalidInput, match="at least 0"):
        store.list(limit=-1)


def test_lists_filter_by_status(store, ceo):
    store.add(ceo(id="a"), by="ann")
    store.propose(ceo(id="p"), by="ann")
    store.add(ceo(id="r", scope="s"), by="ann")
    store.retire("r", by="ann")
    by_status = {
        status: [r.fact.id for r in store.list(status=status)]
        for status in ("draft", "approved", "proposed", "retired", None)
    }
    assert by_status == {
        "draft": [],
        "approved": ["a"],
        "proposed": ["p"],
        "retired": ["r"],
        None: ["a", "p", "r"],
    }


def test_changes_follow_one_another_without_gaps(store, ceo):
    store.import_pack(
        [ceo(subject=f"Company {n}").model_dump_json() for n in range(2100)], name="p", by="ann"
    )
    changes = list(store.changes(50))
    assert [r.sequence for r in changes] == list(range(51, 2101))
    assert list(store.changes(2100)) == []


def test_another_opening_sees_a_change_at_once(store, ceo):
    with type(store).open(store.path) as other:
        assert other.sequence == 0
        added = store.add(ceo(), by="ann")
        assert other.sequence == 1
        assert other.get(added.fact.id) == added
