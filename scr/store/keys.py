"""API keys: random secrets of which only a hash is kept."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from pydantic import ValidationError

from scr.errors import InvalidInput, KeyNotFound
from scr.facts import explain
from scr.records import ApiKey, Role
from scr.store.schema import DamagedRow, from_micros, to_micros
from scr.store.schema import keys as table

PREFIX = "scr"
_ID_BYTES, _SECRET_BYTES = 6, 32


def create(
    connection: sa.Connection,
    *,
    role: Role,
    scopes: Sequence[str],
    name: str,
    by: str,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Make a key; returns it with the secret, which is not kept."""
    key_id = secrets.token_hex(_ID_BYTES)
    secret = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    try:
        key = ApiKey(id=key_id, role=role, scopes=tuple(scopes), name=name, by=by, created=now)
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
    connection.execute(sa.insert(table).values(row))
    return key, secret


def hashes(connection: sa.Connection) -> list[tuple[ApiKey, str]]:
    """Return all keys, revoked ones too, each with the hash of its secret."""
    rows = connection.execute(sa.select(table).order_by(table.c.created, table.c.id))
    return [(_to_key(row), row.hash) for row in rows]


def revoke(connection: sa.Connection, key_id: str, now: datetime) -> ApiKey:
    """Let a key count no longer; raises `KeyNotFound` where there is none that counts."""
    held = sa.select(table).where(table.c.id == key_id, table.c.revoked.is_(None))
    if connection.execute(held).one_or_none() is None:
        raise KeyNotFound(key_id)
    made = sa.update(table).where(table.c.id == key_id).values(revoked=to_micros(now))
    connection.execute(made)
    return _to_key(connection.execute(sa.select(table).where(table.c.id == key_id)).one())


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
