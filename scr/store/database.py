"""The file behind a store: connections, transactions, creation and what can be wrong with it.

Everything that is SQLite's alone, full text apart (`search.py`), is here. Writers take turns:
each begins with `BEGIN IMMEDIATE` and waits for the one before, so that no one ever meets
"database is locked". A commit is on the disk when it returns (`synchronous=FULL`).
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from scr.errors import (
    InvalidInput,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreExists,
    StoreMissing,
    StoreTooNew,
)
from scr.facts import new_id
from scr.store.migrations import upgrade
from scr.store.schema import SCHEMA, DamagedRow
from scr.store.schema import settings as settings_table

BUSY_SECONDS = 60.0
"""How long a change waits for its turn."""

_MAGIC = b"SQLite format 3\x00"
_HEADER = 100  # bytes; see https://www.sqlite.org/fileformat2.html, section 1.3
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNUSABLE = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


class Database:
    """A store's file with its pool of connections; safe to share between threads.

    Args:
        path: the file.
        busy_seconds: how long to wait for a free connection, and for other writers.
        durable: whether what is written is on the disk at the end of its transaction; otherwise
            a power cut (but no crash of the process) may take back the last ones, which is faster.
    """

    def __init__(
        self, path: Path, *, busy_seconds: float = BUSY_SECONDS, durable: bool = True
    ) -> None:
        self.path = path
        self._busy_seconds = busy_seconds
        self._synchronous = "FULL" if durable else "NORMAL"
        self._closed = False
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            connect_args={"timeout": busy_seconds},
            pool_timeout=busy_seconds,
            hide_parameters=True,  # errors are logged, and parameters are people's words
        )
        sa.event.listen(self._engine, "connect", _prepare)
        sa.event.listen(self._engine, "begin", _begin)

    @classmethod
    def open(cls, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> "Database":
        """Open the store at `path`, bringing an older schema up to date.

        Raises:
            StoreMissing: if there is none.
            StoreCorrupt: if the file is no store, or is damaged; it is left untouched.
            StoreTooNew: if a newer version wrote it; it is left untouched.
        """
        _check_file(path)
        database = cls(path, busy_seconds=busy_seconds)
        try:
            with database.read() as connection:
                version = _version(connection, path)
            if version < SCHEMA:
                with database.write() as connection:
                    upgrade(connection)
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def create(cls, path: Path, settings: dict[str, str]) -> None:
        """Make an empty store at `path`, whole or not at all.

        Args:
            path: where; its directory has to exist.
            settings: rows of the `settings` table, JSON by name.

        Raises:
            StoreExists: if something is there already.
            StoreError: if the place cannot be written.
        """
        if os.path.lexists(path):
            raise StoreExists(str(path))
        if not path.parent.is_dir():
            reason = f"there is no directory {path.parent}; make it first"
            raise StoreError(f"cannot make a store at {path}: {reason}")
        # Built beside its place and then linked there, which fails if another got there first.
        draft = path.with_name(f".{path.name}.{new_id()}")
        try:
            _build(draft, settings)
            os.link(draft, path)
            _sync_directory(path.parent)
        except FileExistsError as error:
            raise StoreExists(str(path)) from error
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot make a store at {path}: {error}") from error
        finally:
            for suffix in ("", "-wal", "-shm"):
                with suppress(OSError):
                    draft.with_name(draft.name + suffix).unlink()

    def close(self) -> None:
        """Close every connection; the last one folds the write-ahead log into the file.

        Transactions that still run may finish; no new one begins.
        """
        self._closed = True
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the store throughout."""
        with self._connection() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that alone may write; an error takes back all of it."""
        with self._connection() as connection:
            connection.execution_options(scr_synchronous=self._synchronous)
            with connection.begin():
                yield connection

    def compact(self) -> None:
        """Write the file anew, so that nothing of what was deleted is left in it or in its log.

        Raises:
            StoreBusy: another process kept reading an older state; call it again.
        """
        with self._connection() as connection:
            plain = connection.connection.cursor()  # below SQLAlchemy, which would begin first
            try:
                plain.execute("VACUUM")
                busy = plain.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.OperationalError as error:
                raise StoreError(f"{self.path} could not be compacted: {error}") from error
            finally:
                plain.close()
        if busy:
            raise StoreBusy(str(self.path), self._busy_seconds)

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        """A connection whose errors are ours."""
        if self._closed:
            raise StoreError(f"the store {self.path} was closed: open it again")
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.TimeoutError as error:
            raise StoreBusy(str(self.path), self._busy_seconds) from error
        except sa.exc.DBAPIError as error:
            raise self._explain(error) from error
        except (DamagedRow, sa.exc.MultipleResultsFound) as error:
            reason = "a row does not hold the record it should"
            raise StoreCorrupt(str(self.path), reason) from error
        except UnicodeDecodeError as error:
            reason = "its tables cannot be read"  # SQLite's message quotes bytes of the file
            raise StoreCorrupt(str(self.path), reason) from error
        except UnicodeEncodeError as error:
            raise InvalidInput("text with a lone surrogate cannot be stored or found") from error

    def _explain(self, error: sa.exc.DBAPIError) -> Exception:
        if isinstance(error, sa.exc.InterfaceError | sa.exc.ProgrammingError):
            return error  # a mistake in the program, such as a parameter of a wrong type
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code is None:  # Python's own error, which quotes the whole text
            return StoreCorrupt(str(self.path), "a row holds bytes that are no text")
        code &= 0xFF  # the rest only refines it
        if code in _BUSY:
            return StoreBusy(str(self.path), self._busy_seconds)
        if code in _UNUSABLE:
            return StoreError(f"{self.path} cannot be read or written: {error.orig}")
        # The statements are sound, so what SQLite cannot carry out is the file's fault.
        return StoreCorrupt(str(self.path), str(error.orig))


def _prepare(connection: Any, _record: object) -> None:
    """Leave the beginning of transactions on a fresh DBAPI connection to SQLAlchemy."""
    connection.isolation_level = None


def _begin(connection: sa.Connection) -> None:
    synchronous = connection.get_execution_options().get("scr_synchronous")
    if synchronous:
        connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if synchronous else "BEGIN")


def _build(path: Path, settings: dict[str, str]) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode=WAL")  # kept in the file from then on
    database = Database(path)
    try:
        with database.write() as connection:
            upgrade(connection)
            rows = [{"name": name, "value": value} for name, value in settings.items()]
            connection.execute(sa.insert(settings_table), rows)
    finally:
        database.close()


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_file(path: Path) -> None:
    """Refuse a file that is plainly no whole database, before SQLite touches it."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except FileNotFoundError as error:
        raise StoreMissing(str(path)) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    if not header:
        raise StoreCorrupt(str(path), "the file is empty")
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise StoreCorrupt(str(path), "it is no SQLite database")
    page = int.from_bytes(header[16:18], "big")
    expected = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    # A log that is still to be folded in may hold the missing pages. Looked for before the
    # size is taken: another process may be folding it in right now.
    log = path.with_name(path.name + "-wal")
    logged = log.exists() and log.stat().st_size > 0
    size = path.stat().st_size
    if size < expected and not logged:
        raise StoreCorrupt(str(path), f"it is cut off: {size} of {expected} bytes are there")


def _version(connection: sa.Connection, path: Path) -> str:
    tables = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
    if "alembic_version" not in tables:
        raise StoreCorrupt(str(path), "it is an SQLite database, but no store of SCR")
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() or ""
    # Only a store without any tables yet may lack its number.
    older = {f"{number:04}" for number in range(1, int(SCHEMA))}
    if "revisions" not in tables:
        older.add("")
    if version == SCHEMA or version in older:
        return str(version)
    if isinstance(version, str) and version > SCHEMA:
        raise StoreTooNew(str(path), version)
    raise StoreCorrupt(str(path), f"no version of SCR wrote its schema {version!r}")
