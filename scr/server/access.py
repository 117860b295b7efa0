"""Who asks, and which facts they may see."""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from scr.errors import InvalidInput, KeyForbids, KeyRequired
from scr.facts import Scope, explain, scopes_above
from scr.records import ApiKey, Role, Trace
from scr.store import Store

KEY_HEADER: Final = "x-scr-key"
SCOPE_HEADER: Final = "x-scr-scope"
ROLES: Final[tuple[Role, ...]] = ("reader", "editor", "approver", "admin")
_SECRET: Final = re.compile(r"scr_[0-9a-f]{12}_[\w-]+")
_SCOPE: Final[TypeAdapter[str]] = TypeAdapter(Scope)


class Caller(NamedTuple):
    """Who asks."""

    name: str
    """The key's id, or the address where no key is needed."""

    scopes: tuple[str, ...] | None
    """Scopes whose facts may be seen, those above them included; `None`: every one."""

    role: Role

    @property
    def key(self) -> str:
        """Id of the key; empty where none is needed."""
        return "" if self.scopes is None else self.name

    def explains(self, trace: Trace) -> bool:
        """Whether a decision may be shown: one's own, or any that an administrator's key covers."""
        own = trace.caller == self.key
        return self.sees(trace.scope) and (own or self.role == "admin")

    def scope(self, asked: str | None, default: str) -> str:
        """Return the scope to decide in: the one asked for, else the key's first.

        Raises:
            KeyForbids: the key may not see it.
            InvalidInput: it is no scope.
        """
        if asked is not None:
            try:
                asked = _SCOPE.validate_python(asked)
            except ValidationError as error:
                raise InvalidInput(f"{SCOPE_HEADER}: {explain(error)}") from error
        if self.scopes is None:
            return asked or default
        if asked is None:
            return self.scopes[0]
        if not self.sees(asked):
            raise KeyForbids(f"this key may not see facts of scope {asked!r}")
        return asked

    def sees(self, scope: str) -> bool:
        """Whether facts of a scope may be seen."""
        return self.scopes is None or any(scope in scopes_above(own) for own in self.scopes)


class Doorkeeper:
    """Checks keys; all of them are held in memory, and read again by `refresh`."""

    def __init__(self, store: Store) -> None:
        """Check against the keys of `store`; `refresh` comes before the first check."""
        self._store = store
        self._keys: list[tuple[ApiKey, str]] = []

    def refresh(self) -> None:
        """Read the keys; called twice a second, so that a revoked one is soon refused."""
        self._keys = self._store.keys.hashes()

    @property
    def keys_needed(self) -> bool:
        """Whether the store ever had a key; if not, only this machine may ask.

        Revoking the last one must not open the door.
        """
        return bool(self._keys)

    def admit(self, headers: Mapping[str, str], address: str, role: Role = "reader") -> Caller:
        """Return who asks.

        Raises:
            KeyRequired: a key is needed, and none in force is shown.
            KeyForbids: the key's role does not allow what `role` does; or no key is needed, and
                the request comes from another machine or from a page of another site.
        """
        if not self.keys_needed:
            _require_local(headers, address)
            return Caller(address, None, "admin")
        secret = secret_in(headers)
        key = self._find(secret) if secret else None
        if key is None:
            shown = "the key shown is not in force" if secret else "no key is shown"
            raise KeyRequired(
                f"{shown}: send one that `scr keys create` made as `{KEY_HEADER}`, or as bearer "
                "token"
            )
        if ROLES.index(key.role) < ROLES.index(role):
            raise KeyForbids(f"this key's role is {key.role}; {role} is needed")
        return Caller(key.id, key.scopes, key.role)

    def name_of(self, key_id: str) -> str:
        """Return whose a key is: its name, or its id where it has none."""
        return next((key.name or key.id for key, _ in self._keys if key.id == key_id), key_id)

    def _find(self, secret: str) -> ApiKey | None:
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        found = [key for key, held in self._keys if hmac.compare_digest(held, digest)]
        return found[0] if found and found[0].revoked is None else None


def _require_local(headers: Mapping[str, str], address: str) -> None:
    """Refuse other machines, and pages that a browser on this one shows (CSRF, DNS rebinding)."""
    if not is_loopback(address):
        raise KeyForbids("without keys only this machine may ask: `scr keys create` makes one")
    host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    origin = headers.get("origin")
    own = origin is None or urlsplit(origin).netloc == headers.get("host")
    if not is_loopback(host) or not own or headers.get("sec-fetch-site") == "cross-site":
        raise KeyForbids(
            "without keys no page of another site may ask, and this server is reached as "
            "127.0.0.1 or localhost only: `scr keys create` makes a key"
        )


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def secret_in(headers: Mapping[str, str]) -> str | None:
    """Return the key that a request shows, wherever its client can put one."""
    if own := headers.get(KEY_HEADER):
        return own
    for name in ("authorization", "x-api-key", "api-key"):
        if found := _SECRET.search(headers.get(name, "")):
            return found[0]
    return None


def is_ours(value: str) -> bool:
    """Whether a header carries a key of ours, which upstream must not see."""
    return _SECRET.search(value) is not None
