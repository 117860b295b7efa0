"""API keys: random secrets of which only a hash is kept."""

import builtins
import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

import sqlalchemy as sa
from pydantic import ValidationError

from scr.errors import InvalidInput, KeyNotFound
from scr.facts import explain
from scr.records import ApiKey, Role
from scr.store.database import Database
from scr.store.people import People
from scr.store.schema import DamagedRow, from_micros, to_micros
from scr.store.schema import keys as table

PREFIX = "scr"
_ID_BYTES, _SECRET_BYTES = 6, 32


class KeyRing:
    """The keys in a store's file."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        """Keep them in `database`; `clock` gives the present."""
        self._database = database
        self._clock = clock

    def create(
        self, role: Role, scopes: Sequence[str], *, by: str, name: str = ""
    ) -> tuple[ApiKey, str]:
        """Make a key; returns it with its secret, which is shown once and not kept.

        Raises:
            InvalidInput: role or scopes cannot be used.
        """
        key_id = secrets.token_hex(_ID_BYTES)
        secret = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        try:
            key = ApiKey(
                id=key_id, role=role, scopes=tuple(scopes), name=name, by=by, created=self._clock()
            )
        except ValidationError as error:
            raise InvalidInput(f"key: {explain(error)}") from error
        row = {
            "id": key.id,
            "hash": _hash(secret),
            "role": key.role,
            "scopes": json.dumps(key.scopes),
            "name": key.name,
            "by": key.by,
            "created": to_micros(key.created),
        }
        with self._database.write() as connection:
            connection.execute(sa.insert(table).values(row))
        return key, secret

    @property
    def people(self) -> People:
        """Those who sign in at the desk with a password instead of a key."""
        return People(self._database, self._clock)

    def list(self) -> builtins.list[ApiKey]:
        """Return every key, revoked ones too, the oldest first."""
        return [key for key, _ in self.hashes()]

    def hashes(self) -> builtins.list[tuple[ApiKey, str]]:
        """Return every key with the SHA-256 (hex) of its secret."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.created, table.c.id))
            return [(_to_key(row), row.hash) for row in rows]

    def revoke(self, key_id: str) -> ApiKey:
        """Let a key count no longer, for good.

        Raises:
            KeyNotFound: no key in force has this id.
        """
        own = table.c.id == key_id
        with self._database.write() as connection:
            held = sa.select(table).where(own, table.c.revoked.is_(None))
            if connection.execute(held).one_or_none() is None:
                raise KeyNotFound(key_id)
            connection.execute(sa.update(table).where(own).values(revoked=to_micros(self._clock())))
            return _to_key(connection.execute(sa.select(table).where(own)).one())


def _hash(secret: str) -> str:
    # Of 256 random bits: nothing slower is needed, as it would be for a password.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _to_key(row: "sa.Row[tuple[object, ...]]") -> ApiKey:
    try:
        return ApiKey(
            id=row.id,
            role=row.role,
            scopes=tuple(json.loads(row.scopes)),
            name=row.name,
            by=row.by,
            created=from_micros(row.created),
            revoked=None if row.revoked is None else from_micros(row.revoked),
        )
    except (TypeError, ValueError) as error:
        raise DamagedRow("a row of `keys` holds no key") from error
