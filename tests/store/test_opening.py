import hashlib
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing, suppress

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import scr.store.migrations
from scr.errors import (
    FactNotFound,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreExists,
    StoreMissing,
    StoreTooNew,
)
from scr.facts import make_fact
from scr.store import Store
from scr.store.database import Database
from scr.store.schema import SCHEMA, metadata, revisions

SAME_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def execute(path, statement):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


@pytest.fixture
def filled(templates, tmp_path):
    """A closed store with 200 facts, several pages of 4 KiB each in every table."""
    path = tmp_path / "filled.db"
    shutil.copy(templates / "plain.db", path)
    with Store.open(path) as store:
        lines = [make_fact(statement=f"Fact number {n}.").model_dump_json() for n in range(200)]
        store.import_pack(lines, name="pack", by="ann")
    return path


def test_a_missing_store(tmp_path):
    with pytest.raises(StoreMissing, match=r"scr --store .* init"):
        Store.open(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_creating_and_opening_again(tmp_path):
    path = tmp_path / "100% new facts.db"
    with Store.create(path, review=True, relations=["b", "a", "b"]) as store:
        assert (store.path, store.review, store.relations) == (path, True, ("a", "b"))
    with Store.open(str(path)) as store:
        assert (store.path, store.review, store.relations) == (path, True, ("a", "b"))
    assert list(tmp_path.iterdir()) == [path]


def test_open_creates_when_asked(tmp_path):
    with Store.open(tmp_path / "new.db", create=True) as store:
        assert (store.review, store.relations, store.sequence) == (False, None, 0)
        store.add(make_fact(statement="x"), by="ann")
    with Store.open(tmp_path / "new.db", create=True) as store:
        assert store.sequence == 1


@pytest.mark.parametrize("content", [b"", b"precious", None])
def test_what_is_there_is_not_replaced(tmp_path, content):
    path = tmp_path / "there"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(StoreExists):
        Store.create(path)
    assert path.is_dir() if content is None else path.read_bytes() == content


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(StoreError, match=r"no directory .*make it first"):
        Store.create(tmp_path / "no" / "such" / "facts.db")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        Store.create(tmp_path / "file" / "facts.db")
    with pytest.raises(StoreError):
        Store.create(tmp_path / ("x" * 300))
    with pytest.raises(StoreError):
        Store.open(tmp_path)


@SAME_FILE
@given(st.binary(max_size=300))
@example(b"")
@example(b"SQLite format 3\0")
@example(b"SQLite format 3\0" + b"\0" * 84)
@example(b"SQLite format 3\0" + b"\xff" * 5000)
@example(b"\0" * 100_000)
def test_garbage_is_corrupt_and_stays_as_it_is(tmp_path, content):
    path = tmp_path / "garbage.db"
    path.write_bytes(content)
    for create in (False, True):
        with pytest.raises(StoreCorrupt, match="left untouched"):
            Store.open(path, create=create)
    assert path.read_bytes() == content


@SAME_FILE
@given(st.floats(0, 1, exclude_max=True))
def test_a_store_that_was_cut_off_is_corrupt_and_stays_as_it_is(filled, share):
    content = filled.read_bytes()
    cut = content[: int(len(content) * share)]
    path = filled.with_name("cut.db")
    path.write_bytes(cut)
    with pytest.raises(StoreCorrupt, match="left untouched"):
        Store.open(path)
    assert path.read_bytes() == cut


@pytest.mark.parametrize("keep", [1, 5])
def test_damaged_pages_are_reported(filled, keep):
    content = filled.read_bytes()
    path = filled.with_name("damaged.db")
    path.write_bytes(content[: keep * 4096] + b"\xa5" * (len(content) - keep * 4096))
    before = digest(path)
    with pytest.raises(StoreCorrupt, match="left untouched"), Store.open(path) as store:
        store.list()
    assert digest(path) == before


@pytest.mark.parametrize(
    "damage",
    [
        "fact = 'no json'",
        "fact = '{}'",
        "status = 'unheard of'",
        "fact = x'ff00'",
        "fact = CAST(x'7bff7d' AS TEXT)",
        "at = 'noon'",
        "at = 9223372036854775807",
    ],
)
def test_damaged_rows_are_reported(filled, damage):
    execute(filled, f"UPDATE revisions SET {damage} WHERE sequence = 7")  # noqa: S608
    with Store.open(filled) as store, pytest.raises(StoreCorrupt):
        store.list(status=None)


@pytest.mark.parametrize(
    "damage", ["value = 'no json'", "value = '5'", "value = x'ff'", "name = 'qelations'"]
)
def test_damaged_settings_are_reported(filled, damage):
    execute(filled, f"UPDATE settings SET {damage} WHERE name = 'relations'")  # noqa: S608
    with pytest.raises(StoreCorrupt, match="settings"):
        Store.open(filled)


@pytest.mark.parametrize("version", ["'0000'", "''", "'/001'", "x'30303031'"])
def test_a_schema_that_no_version_wrote_is_reported(filled, version):
    execute(filled, f"UPDATE alembic_version SET version_num = {version}")  # noqa: S608
    before = digest(filled)
    with pytest.raises(StoreCorrupt, match="no version of SCR"):
        Store.open(filled)
    assert digest(filled) == before


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of a store with a few facts, and the id of one that was superseded."""
    path = tmp_path_factory.mktemp("small") / "facts.db"
    with Store.create(path, relations=["capital"]) as store:
        for number in range(8):
            store.add(
                make_fact(
                    id=f"f{number}",
                    subject=f"Land {number}",
                    relation="capital",
                    target=f"Town {number}",
                ),
                by="ann",
            )
        store.add(make_fact(statement="Land 1 has a new capital.", supersedes="f1"), by="bob")
    return path.read_bytes()


def flip(content, rng):
    """Change 1 to 20 bytes; every second time on the first page, where the schema is."""
    reach = rng.choice([4096, len(content)])
    damaged = bytearray(content)
    for place in rng.choices(range(reach), k=rng.randint(1, 20)):
        damaged[place] ^= rng.randint(1, 255)
    return bytes(damaged)


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_raise_nothing_but_errors_of_the_store(small, tmp_path, seed):
    damaged = flip(small, random.Random(seed))
    path = tmp_path / "damaged.db"
    path.write_bytes(damaged)
    with suppress(StoreError), Store.open(path) as store:
        for read in (
            lambda: store.list(status=None),
            lambda: store.list(as_of=5),
            lambda: store.search("town", status=None),
            lambda: store.history("f1"),
            lambda: list(store.changes(0)),
        ):
            with suppress(StoreError, FactNotFound):  # a flip can change an id
                read()
    assert path.read_bytes() == damaged


def test_a_database_of_something_else_is_no_store(tmp_path):
    path = tmp_path / "other.db"
    execute(path, "CREATE TABLE recipes (name TEXT)")
    before = digest(path)
    with pytest.raises(StoreCorrupt, match="no store of SCR"):
        Store.open(path)
    assert digest(path) == before


@pytest.mark.parametrize("version", ["0008", "9999", "abc"])
def test_a_store_of_a_newer_version_stays_as_it_is(filled, version):
    execute(filled, f"UPDATE alembic_version SET version_num = '{version}'")  # noqa: S608
    before = digest(filled)
    with pytest.raises(StoreTooNew, match=f"schema {version}.*upgrade scr"):
        Store.open(filled)
    assert digest(filled) == before


def test_the_migrations_make_the_tables_of_the_schema(filled):
    directory = ScriptDirectory(scr.store.migrations.__path__[0])
    assert directory.get_current_head() == SCHEMA
    engine = sa.create_engine(f"sqlite:///{filled}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, _: kind != "table" or "words" not in name},
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_store_without_any_migration_is_brought_up_to_date(tmp_path):
    path = tmp_path / "old.db"
    execute(path, "PRAGMA journal_mode=WAL")
    execute(path, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    database = Database.open(path)
    with database.read() as connection:
        assert connection.execute(sa.select(revisions)).all() == []
    database.close()


def test_a_lock_that_lasts_too_long_is_reported(filled):
    with closing(sqlite3.connect(filled, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with Store.open(filled, busy_seconds=0.05) as store:
            with pytest.raises(StoreBusy, match=r"locked by another writer for 0\.05 s"):
                store.add(make_fact(statement="x"), by="ann")
            assert store.sequence == len(store.list()) == 200  # reading goes on meanwhile
            other.execute("ROLLBACK")
            assert store.add(make_fact(statement="x"), by="ann").sequence == 201


def test_commits_reach_the_disk_before_they_return(filled):
    database = Database.open(filled)
    with database.write() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    database.close()
    fast = Database(filled, durable=False)
    with fast.write() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL
    fast.close()


def test_more_readers_than_connections_are_reported(filled):
    database = Database.open(filled, busy_seconds=0.01)

    def take_every_connection():
        for _ in range(100):
            readers.enter_context(database.read())

    with ExitStack() as readers, pytest.raises(StoreBusy):
        take_every_connection()
    with database.read() as connection:  # they are free again
        assert connection.execute(sa.select(revisions)).first() is not None
    database.close()


def test_a_mistake_in_a_call_is_not_blamed_on_the_file(filled):
    with Store.open(filled) as store, pytest.raises(sa.exc.DBAPIError, match="parameter"):
        store.get(object())


def test_a_closed_store_answers_no_more(filled):
    store = Store.open(filled)
    known = store.list(limit=1)[0].fact.id
    following = store.changes(0)
    next(following)
    store.close()
    store.close()
    for use in (
        store.list,
        store.traces,
        lambda: store.get(known),
        lambda: store.sequence,
        lambda: list(store.changes(5)),
        lambda: store.retire(known, by="ann"),
        lambda: store.prune_traces(0),
    ):
        with pytest.raises(StoreError, match="was closed: open it again"):
            use()
    with Store.open(filled) as again:
        assert again.get(known).status == "approved"


def test_opening_a_store_needs_neither_alembic_nor_torch(filled):
    code = (
        "import sys; from scr.store import Store\n"
        f"with Store.open({str(filled)!r}) as store: store.list(limit=1)\n"
        "print([name for name in ('alembic', 'torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_creating_a_store_prints_nothing(tmp_path):
    code = f"from scr.store import Store; Store.create({str(tmp_path / 'new.db')!r}).close()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
