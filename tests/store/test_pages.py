"""Pages of facts: the same as reading everything and choosing by hand."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.errors import InvalidInput, StoreCorrupt
from scr.facts import make_fact, normalize, scopes_above
from scr.store import Store
from scr.store.database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("fact", "text", "rule", "forget")
SCOPES = ("default", "acme", "acme/support")
STATUSES = ("approved", "proposed", "retired")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store of 90 facts of every kind, scope and status, some of them revised later."""
    now = START
    path = tmp_path_factory.mktemp("pages") / "facts.db"
    with Store.create(path, clock=lambda: now) as store:
        for number in range(90):
            now += timedelta(hours=1)
            kind = KINDS[number % 4]
            fact = make_fact(
                id=f"f{number * 37 % 90:02}", kind=kind, subject=f"Land {number % 7}",
                relation=("Capital", "capital  ", "ruler")[number % 3] if kind != "rule" else "",
                target=f"Town {number}", scope=SCOPES[number % 3],
                statement=f"Number {number} of the lands.",
                tags=[("Geo%", "geo_", "people")[number % 3]] if number % 5 else [],
                validity={"start": START + timedelta(days=number % 9)},
            )  # fmt: skip
            write = store.add if kind != "fact" else store.propose
            write(fact, by="ann")
            if number % 10 == 3:
                store.retire(fact.id, by="bob")
            if number % 10 == 6:
                store.revise(fact.id, {"tags": ["people", "new"]}, by="bob")
        yield store


choices = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from([None, *STATUSES]),
        "kind": st.sampled_from(KINDS),
        "scope": st.sampled_from([*SCOPES, ["default", "acme"], []]),
        "tag": st.sampled_from(["geo%", "GEO_", "people", "new", "none"]),
        "relation": st.sampled_from(["CAPITAL", "ruler", "none"]),
        "valid_at": st.sampled_from([START + timedelta(days=days) for days in (-1, 0, 4, 30)]),
        "as_of": st.sampled_from([0, 1, 50, 10_000, START + timedelta(hours=30)]),
        "text": st.sampled_from(["land", "land 3", "town", "numb", "none"]),
    },
)


def by_hand(store, text="", status="approved", kind=None, scope=None, tag=None, relation=None,
            valid_at=None, as_of=None):  # fmt: skip
    """Choose among all facts, one by one."""
    given = [scope] if isinstance(scope, str) else scope
    seen = None if given is None else {s for each in given for s in scopes_above(each)}
    found = {r.fact.id for r in store.search(text, limit=999, status=None, as_of=as_of)}
    return [
        r
        for r in store.list(status=None, as_of=as_of)
        if (not text or r.fact.id in found)
        and status in (None, r.status)
        and kind in (None, r.fact.kind)
        and (seen is None or r.fact.scope in seen)
        and (tag is None or normalize(tag) in map(normalize, r.fact.tags))
        and (relation is None or normalize(relation) == normalize(r.fact.relation))
        and (valid_at is None or r.fact.validity.covers(valid_at))
    ]


@settings(max_examples=200, deadline=None)
@given(choices, st.sampled_from(["id", "subject", "newest"]), st.integers(0, 30), st.integers(0, 9))
def test_a_page_is_what_choosing_by_hand_finds(filled, filters, order, limit, offset):
    keys = {
        "id": lambda r: r.fact.id,
        "subject": lambda r: (normalize(r.fact.subject), r.fact.id),
        "newest": lambda r: -r.sequence,
    }
    wanted = sorted(by_hand(filled, **filters), key=keys[order])
    page = filled.page(**filters, order=order, limit=limit, offset=offset)
    assert page.total == len(wanted)
    assert list(page.revisions) == wanted[offset : offset + limit]


@settings(max_examples=50, deadline=None)
@given(choices)
def test_counts_are_those_of_the_facts(filled, filters):
    wanted = by_hand(filled, **filters)
    for facet, values in {
        "status": lambda r: [r.status],
        "kind": lambda r: [r.fact.kind],
        "scope": lambda r: [r.fact.scope],
        "relation": lambda r: [normalize(r.fact.relation)],
        "tag": lambda r: {normalize(tag) for tag in r.fact.tags},
    }.items():
        named = [value for r in wanted for value in values(r) if value]
        assert filled.counts(facet, **filters) == {v: named.count(v) for v in set(named)}


def test_the_best_match_comes_first(filled):
    page = filled.page(text="land 3", status=None, limit=None)
    assert page == filled.page(text="land 3", status=None, order="best", limit=None)
    assert list(page.revisions) == filled.search("land 3", status=None, limit=999)
    assert all("3" in str(r.fact) for r in page.revisions)


def test_what_cannot_be_asked_for(filled):
    for arguments in ({"limit": -1}, {"offset": -1}, {"order": "best"}, {"scope": ["No Scope"]}):
        with pytest.raises(InvalidInput):
            filled.page(**arguments)


def test_the_latest_changes_come_first(filled):
    newest = list(filled.changes(0))[::-1]
    assert filled.latest_changes(5) == newest[:5]
    assert filled.latest_changes(5, 7) == newest[7:12]


def test_a_store_of_an_older_schema_is_listed_alike(filled, tmp_path, older):
    """The migration fills what the older schema had no columns for."""
    path = tmp_path / "old.db"
    older(filled.path, path)
    with Store.open(path) as store:
        for filters in ({"status": None}, {"tag": "people"}, {"relation": "capital"}):
            mine = store.page(**filters, order="subject", limit=None)
            assert mine == filled.page(**filters, order="subject", limit=None)
        added = store.add(make_fact(subject="Land 3", relation="anthem", target="x"), by="ann")
        assert store.page(relation="anthem").revisions == (added,)


def test_a_damaged_row_stops_the_migration(filled, tmp_path, older):
    path = tmp_path / "old.db"
    older(filled.path, path, "UPDATE revisions SET fact = 'no json' WHERE sequence = 7")
    with pytest.raises(StoreCorrupt, match="left untouched"):
        Database.open(path)


@pytest.fixture
def older():
    """Makes a copy of a store, in the schema before its facts were listed by columns."""

    def make(source, path, *more):
        with closing(sqlite3.connect(source)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(source, path)
        with closing(sqlite3.connect(path)) as connection, connection:
            for name in ("people", "filters", "settled"):
                connection.execute(f"DROP TABLE {name}")
            connection.execute("DROP INDEX current_by_subject")
            for name in ("status", "scope", "valid_start", "valid_end"):
                connection.execute(f"ALTER TABLE current DROP COLUMN {name}")
            for name in ("kind", "subject", "relation", "tags"):
                connection.execute(f"ALTER TABLE current DROP COLUMN {name}")
                connection.execute(f"ALTER TABLE revisions DROP COLUMN {name}")
            connection.execute("UPDATE alembic_version SET version_num = '0003'")
            for statement in more:
                connection.execute(statement)

    return make
