"""People who sign in at the desk with a password, and the searches that each of them keeps.

Of a password only an argon2 hash is kept. Names are told apart as the names of facts are: "eve"
and "Eve" are one person, or nobody could be sure whose proposal it was.
"""

import builtins
import json
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Final

import sqlalchemy as sa
from pydantic import AfterValidator, Field, ValidationError

from scr.errors import InvalidInput, MissingExtra, PersonNotFound, SignInRefused, StoreCorrupt
from scr.facts import Instant, Name, Scope, explain, normalize
from scr.records import Record, Role
from scr.store.database import Database
from scr.store.schema import DamagedRow, from_micros, to_micros
from scr.store.schema import filters as filter_table
from scr.store.schema import people as table

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST: Final = 10
"""Characters that a password has at least."""

_LONGEST = 1_000
_LONGEST_NAME = 100
_MOST_FILTERS = 50  # that one person keeps
_HASHING = threading.BoundedSemaphore(2)  # each takes 64 MiB


def _short(name: str) -> str:
    if not 1 <= len(name) <= _LONGEST_NAME:
        raise ValueError(f"is {len(name)} characters long: give it 1 to {_LONGEST_NAME}")
    return name


Label = Annotated[Name, AfterValidator(_short)]
"""A name of something that is not a fact."""


class Account(Record):
    """Someone who signs in with a password."""

    name: Label
    """As they sign in, and as the history names them."""

    role: Role
    """What they may do."""

    scopes: tuple[Scope, ...] = Field(min_length=1)
    """They may see facts of these scopes and of those above them."""

    by: str
    """Who let them in."""

    created: Instant
    """When that was."""

    changed: Instant
    """When their password was set last: sessions from before have ended."""

    removed: Instant | None = None
    """When they were removed; `None`: they may sign in."""


class Filter(Record):
    """A search that somebody keeps."""

    name: Label
    query: str = Field(max_length=4_000)
    """The query of its address."""


class People:
    """The people in a store's file."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        """Keep them in `database`; `clock` gives the present."""
        self._database = database
        self._clock = clock

    def add(
        self, name: str, password: str, role: Role, scopes: Sequence[str], *, by: str
    ) -> Account:
        """Let someone in; who was removed comes back with what is given now.

        Raises:
            InvalidInput: the name is taken, or one of the arguments cannot be used.
        """
        now = self._clock()
        try:
            account = Account(
                name=name, role=role, scopes=tuple(scopes), by=by, created=now, changed=now
            )
        except ValidationError as error:
            raise InvalidInput(f"person: {explain(error)}") from error
        row = {
            "folded": normalize(account.name),
            "name": account.name,
            "hash": _hashed(password),
            "role": account.role,
            "scopes": json.dumps(account.scopes),
            "by": account.by,
            "created": to_micros(account.created),
            "changed": to_micros(account.changed),
            "removed": None,
        }
        own = table.c.folded == row["folded"]
        with self._database.write() as connection:
            held = connection.execute(sa.select(table).where(own)).one_or_none()
            if held is not None and held.removed is None:
                raise InvalidInput(f"somebody is called {held.name!r} already: take another name")
            connection.execute(sa.delete(table).where(own))
            connection.execute(sa.insert(table).values(row))
        return account

    def list(self) -> builtins.list[Account]:
        """Return everybody, removed ones too, by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.folded)).all()
            return [_to_account(row) for row in rows]

    def any(self) -> bool:
        """Whether there ever was anybody: removing the last one must not open the door."""
        with self._database.read() as connection:
            return connection.execute(sa.select(table.c.folded).limit(1)).first() is not None

    def get(self, name: str) -> Account:
        """Return someone who may sign in.

        Raises:
            PersonNotFound: there is nobody of this name, or no longer.
        """
        found = self._find(name)
        if found is None:
            raise PersonNotFound(name)
        return found[0]

    def sign_in(self, name: str, password: str) -> Account:
        """Return who signs in. It takes as long where there is nobody of this name.

        Raises:
            SignInRefused: name and password do not belong together.
        """
        found = self._find(name)
        account, digest = found or (None, _nobodys())
        if not self._is_right(password, digest) or account is None:
            raise SignInRefused("name or password is wrong; an administrator can set a new one")
        if _hasher().check_needs_rehash(digest):
            own = table.c.hash == digest
            with self._database.write() as connection:
                connection.execute(sa.update(table).where(own).values(hash=_hashed(password)))
        return account

    def set_password(self, name: str, password: str) -> Account:
        """Give someone a new password; sessions that they have end.

        Raises:
            PersonNotFound: nobody of this name may sign in.
            InvalidInput: the password cannot be used.
        """
        self.get(name)
        return self._update(name, hash=_hashed(password), changed=to_micros(self._clock()))

    def remove(self, name: str) -> Account:
        """Let someone in no longer; sessions that they have end.

        Raises:
            PersonNotFound: nobody of this name may sign in.
        """
        return self._update(name, removed=to_micros(self._clock()))

    # Searches that they keep

    def filters(self, owner: str) -> builtins.list[Filter]:
        """Return the searches that somebody keeps, by name."""
        own = sa.select(filter_table).where(filter_table.c.owner == owner)
        with self._database.read() as connection:
            rows = connection.execute(own.order_by(filter_table.c.name)).all()
        return [Filter(name=row.name, query=row.query) for row in rows]

    def keep_filter(self, owner: str, name: str, query: str) -> Filter:
        """Keep a search under a name; one of the same name is replaced.

        Raises:
            InvalidInput: it has no name, or the person keeps too many.
        """
        try:
            kept = Filter(name=name, query=query)
        except ValidationError as error:
            raise InvalidInput(f"search: {explain(error)}") from error
        others = [each for each in self.filters(owner) if each.name != kept.name]
        if len(others) >= _MOST_FILTERS:
            raise InvalidInput(f"{_MOST_FILTERS} searches are kept already: drop one of them")
        row = {"owner": owner, "name": kept.name, "query": kept.query}
        with self._database.write() as connection:
            connection.execute(_filter(owner, kept.name))
            connection.execute(sa.insert(filter_table).values(row))
        return kept

    def drop_filter(self, owner: str, name: str) -> None:
        """Keep a search no longer."""
        with self._database.write() as connection:
            connection.execute(_filter(owner, name))

    def _find(self, name: str) -> tuple[Account, str] | None:
        """Return someone who may sign in, and the hash of their password."""
        own = sa.and_(table.c.folded == normalize(name), table.c.removed.is_(None))
        with self._database.read() as connection:
            row = connection.execute(sa.select(table).where(own)).one_or_none()
            return None if row is None else (_to_account(row), row.hash)

    def _is_right(self, password: str, digest: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        if len(password) > _LONGEST:
            return False
        try:
            with _HASHING:
                return _hasher().verify(digest, _bytes(password))
        except InvalidHashError as error:
            raise StoreCorrupt(str(self._database.path), "`people` holds no hash") from error
        except VerificationError:
            return False

    def _update(self, name: str, **values: object) -> Account:
        own = table.c.folded == normalize(name)
        with self._database.write() as connection:
            changed = sa.update(table).where(own, table.c.removed.is_(None)).values(**values)
            if not connection.execute(changed).rowcount:
                raise PersonNotFound(name)
            return _to_account(connection.execute(sa.select(table).where(own)).one())


def _filter(owner: str, name: str) -> sa.Delete:
    own = sa.and_(filter_table.c.owner == owner, filter_table.c.name == name)
    return sa.delete(filter_table).where(own)


@cache
def _hasher() -> "PasswordHasher":
    try:
        from argon2 import PasswordHasher
    except ImportError as error:
        raise MissingExtra("server", str(error.name), "signing in with a password") from error
    return PasswordHasher()


@cache
def _nobodys() -> str:
    return _hasher().hash("nobody's password")


def _hashed(password: str) -> str:
    if not SHORTEST <= len(password) <= _LONGEST:
        raise InvalidInput(f"a password has {SHORTEST} to {_LONGEST:,} characters; choose another")
    with _HASHING:
        return _hasher().hash(_bytes(password))


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _to_account(row: "sa.Row[tuple[object, ...]]") -> Account:
    try:
        return Account(
            name=row.name,
            role=row.role,
            scopes=tuple(json.loads(row.scopes)),
            by=row.by,
            created=from_micros(row.created),
            changed=from_micros(row.changed),
            removed=None if row.removed is None else from_micros(row.removed),
        )
    except (TypeError, ValueError) as error:
        raise DamagedRow("a row of `people` holds no person") from error
