"""Whatever is done to a store, in whatever order: what must hold all the same."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    rule,
    run_state_machine_as_test,
)

from scr.errors import InvalidInput, ScrError
from scr.facts import Fact, make_fact
from scr.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)

spans = st.sampled_from([None, *range(-3, 4)]).flatmap(
    lambda first: st.builds(
        lambda last: {
            "start": None if first is None else START + timedelta(days=first),
            "end": None if last is None else START + timedelta(days=last),
        },
        st.sampled_from([None, *range(-3 if first is None else first + 1, 6)]),
    )
)
ranks = st.sampled_from(["normal", "normal", "normal", "preferred", "deprecated"])
free_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def facts(draw: st.DrawFn, supersedes: str | None = None) -> Fact:
    """A fact about few subjects, so that slots are met again and again."""
    fields: dict[str, object] = {
        "scope": draw(st.sampled_from(["default", "acme"])),
        "validity": draw(spans),
        "rank": draw(ranks),
        "note": draw(free_text.filter(lambda text: "\0" not in text)),
        "supersedes": supersedes,
    }
    if draw(st.integers(0, 4)):
        fields |= {
            "subject": draw(st.sampled_from(["Ada", "ADA", "Bob"])),
            "relation": draw(st.sampled_from(["job", "home"])),
            "target": draw(st.sampled_from(["red", "green", "blue"])),
        }
    else:
        fields |= {"kind": "text", "statement": draw(st.sampled_from(["One.", "Two.", "Three."]))}
    return make_fact(**fields)


def snapshot(store: Store, **options: object) -> list[object]:
    return [(r.sequence, r.status, r.fact) for r in store.list(status=None, **options)]


def told(store: Store, **options: object) -> list[object]:
    """What a store says in every way that it can be asked for a time."""
    return [
        snapshot(store, **options),
        snapshot(store, valid_at=START, **options),
        list(store.export_pack(scope="acme", valid_at=START + timedelta(days=1), **options)),
        *(store.page(status=None, order=order, **options) for order in ("subject", "newest")),
        {r.fact.id for r in store.search("red", status=None, valid_at=START, **options)},
        store.counts("relation", status=None, **options),
    ]


@pytest.fixture(scope="module")
def template():
    """Where an empty store lies, ready to be copied."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        Store.create(path).close()
        Machine.template = path
        yield path


class Machine(RuleBasedStateMachine):
    template: Path
    ids = Bundle("ids")

    @initialize()
    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        self.now = START
        self.store = self.copy("store.db")
        self.copies = []
        self.past = {0: ([], START - timedelta(days=9999))}

    def copy(self, name):
        path = Path(self.folder.name) / name
        shutil.copy(self.template, path)
        return Store.open(path, clock=lambda: self.now)

    def teardown(self):
        if hasattr(self, "folder"):
            try:
                self.check()
            finally:
                self.store.close()
                self.folder.cleanup()

    def attempt(self, change, *arguments):
        """Make a change; whether it is made or refused, the history must fit."""
        before, sequence = snapshot(self.store), self.store.sequence
        try:
            revision = change(*arguments, by="ann")
        except ScrError:
            assert snapshot(self.store) == before
            assert self.store.sequence == sequence
            return None
        assert self.store.get(revision.fact.id) == revision
        if self.store.sequence > sequence:
            assert revision.sequence == self.store.sequence
            self.past[revision.sequence] = (snapshot(self.store), revision.at)
            self.keep_a_copy(revision.sequence)
        return revision

    def keep_a_copy(self, sequence):
        """Copy the file as it is, as a backup would."""
        if sequence % 4 == 0:
            path = Path(self.folder.name) / f"copy-{sequence}.db"
            with (
                closing(sqlite3.connect(self.store.path)) as one,
                closing(sqlite3.connect(path)) as two,
            ):
                one.backup(two)
            self.copies.append((sequence, path))

    @rule(hours=st.integers(-30, 30))
    def time_goes_on_or_back(self, hours):
        self.now += timedelta(hours=hours)

    @rule(number=st.integers(1, 30))
    def undo(self, number):
        self.attempt(lambda by: self.store.undo(number, by=by)[-1])

    @rule(fact_id=ids)
    def comment(self, fact_id):
        self.attempt(lambda by: self.store.comment(fact_id, "Is it so?", by=by))

    @rule(target=ids, fact=facts())
    def add(self, fact):
        self.attempt(self.store.add, fact)
        return fact.id

    @rule(target=ids, fact=facts())
    def propose(self, fact):
        self.attempt(self.store.propose, fact)
        return fact.id

    @rule(target=ids, old=ids, choice=st.data())
    def supersede(self, old, choice):
        fact = choice.draw(facts(supersedes=old))
        revision = self.attempt(self.store.add, fact)
        if revision:
            closed = self.store.get(old).fact.validity.end
            assert closed is not None
            assert closed <= revision.fact.validity.start
        return fact.id

    @rule(fact_id=ids, span=spans, rank=ranks)
    def revise(self, fact_id, span, rank):
        self.attempt(self.store.revise, fact_id, {"validity": span, "rank": rank})

    @rule(fact_id=ids)
    def approve(self, fact_id):
        self.attempt(self.store.approve, fact_id)

    @rule(fact_id=consumes(ids))
    def retire(self, fact_id):
        self.attempt(self.store.retire, fact_id)

    @rule()
    def reopen(self):
        self.store.close()
        self.store = Store.open(self.store.path, clock=lambda: self.now)

    def export_and_import(self):
        pack = list(self.store.export_pack())
        assert pack == list(self.store.export_pack())
        again = self.store.import_pack(pack, name="same", by="ann")
        assert (again.unchanged, again.added, again.revised) == (len(pack), 0, 0)
        with self.copy("other.db") as other:
            first = other.import_pack(pack, name="other", by="bob")
            assert first.added == len(pack)
            assert list(other.export_pack()) == pack
            assert other.import_pack(pack, name="other", by="bob").unchanged == len(pack)

    def check(self):
        """What must hold at the end, whatever was done."""
        self.approved_facts_do_not_contradict()
        self.the_history_tells_the_present()
        self.the_past_does_not_change()
        self.every_fact_is_found_by_its_words()
        self.export_and_import()
        self.the_revisions_replayed_give_the_same_store()

    def approved_facts_do_not_contradict(self):
        approved = [r.fact for r in self.store.list()]
        for one, other in combinations(approved, 2):
            if one.slot and one.slot == other.slot and one.rank == other.rank != "deprecated":
                assert not one.validity.overlaps(other.validity)

    def the_history_tells_the_present(self):
        changes = list(self.store.changes(0))
        assert [r.sequence for r in changes] == list(range(1, self.store.sequence + 1))
        assert [r.at for r in changes] == sorted(r.at for r in changes)
        latest = {r.fact.id: r for r in changes}
        assert self.store.list(status=None) == sorted(latest.values(), key=lambda r: r.fact.id)
        for revision in latest.values():
            history = self.store.history(revision.fact.id)
            statuses = [None, *(r.status for r in history)]
            assert [r.previous_status for r in history] == statuses[:-1]

    def the_past_does_not_change(self):
        for sequence, (facts_then, at) in self.past.items():
            assert snapshot(self.store, as_of=sequence) == facts_then
            assert snapshot(self.store, as_of=at) == facts_then

        for sequence, path in self.copies:
            with Store.open(path) as copy:
                assert told(copy) == told(self.store, as_of=sequence)

    def the_revisions_replayed_give_the_same_store(self):
        before = told(self.store)
        self.store.rebuild()
        assert told(self.store) == before
        self.every_fact_is_found_by_its_words()

    def every_fact_is_found_by_its_words(self):
        for revision in self.store.list(status=None):
            words = revision.fact.target or revision.fact.statement
            assert revision in self.store.search(words, status=None, limit=1000)


def test_what_holds_after_any_sequence_of_changes(template):
    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=30, stateful_step_count=12, deadline=None),
    )


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.fixed_dictionaries(
        {"statement": free_text},
        optional={
            name: free_text if name in ("subject", "target", "note") else st.lists(free_text)
            for name in ("subject", "target", "note", "aliases", "questions", "sources", "tags")
        },
    )
)
def test_any_text_survives_a_pack(template, tmp_path, fields):
    try:
        fact = make_fact(**fields)
    except InvalidInput:
        return
    packs = []
    for name in ("one.db", "two.db"):
        shutil.copy(template, tmp_path / name)
    with Store.open(tmp_path / "one.db") as one, Store.open(tmp_path / "two.db") as two:
        assert one.add(fact, by="ann").fact == fact
        packs.append(list(one.export_pack()))
        file = "".join(f"{line}\n" for line in packs[0]).encode()
        two.import_pack(file.splitlines(keepends=True), name="pack", by="ann")
        packs.append(list(two.export_pack()))
        assert two.get(fact.id).fact == fact
    assert packs[0] == packs[1]
