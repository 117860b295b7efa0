"""Who asks, and which facts they may see."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from scr.errors import KeyForbids, KeyRequired
from scr.facts import scopes_above
from scr.records import ApiKey, Role
from scr.store import Store

KEY_HEADER: Final = "x-scr-key"
SCOPE_HEADER: Final = "x-scr-scope"
ROLES: Final[tuple[Role, ...]] = ("reader", "editor", "approver", "admin")
_REMEMBERED: Final = 1.0  # seconds after which a revoked key is refused everywhere, at the latest
_SECRETS: Final = 1_000  # that are remembered
_PREFIX: Final = "scr_"


class Caller(NamedTuple):
    """Who asks."""

    name: str
    """The key's id, or the address where no key is needed."""

    scopes: tuple[str, ...] | None
    """Scopes whose facts may be seen, those above them included; `None`: every one."""

    role: Role

    def scope(self, asked: str | None, default: str) -> str:
        """Return the scope to decide in: the one asked for, else the key's first.

        Raises:
            KeyForbids: the key may not see it.
        """
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
    """Checks keys against the store; what it found is remembered for a second."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        """Check against the keys of `store`."""
        self._store = store
        self._clock = clock
        self._needed = (-_REMEMBERED, False)
        self._known: OrderedDict[bytes, tuple[float, ApiKey | None]] = OrderedDict()

    @property
    def keys_needed(self) -> bool:
        """Whether the store has any key in force; without one, only this machine may ask."""
        then, needed = self._needed
        if self._clock() - then >= _REMEMBERED:
            needed = any(key.revoked is None for key in self._store.api_keys())
            self._needed = (self._clock(), needed)
        return needed

    def admit(self, headers: Mapping[str, str], address: str, role: Role = "reader") -> Caller:
        """Return who asks.

        Raises:
            KeyRequired: a key is needed, and none in force is shown.
            KeyForbids: the key's role does not allow what `role` does.
        """
        if not self.keys_needed:
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

    def _find(self, secret: str) -> ApiKey | None:
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        then, key = self._known.get(digest, (-_REMEMBERED, None))
        if self._clock() - then >= _REMEMBERED:
            key = self._store.find_key(secret)
            self._known[digest] = (self._clock(), key)
            self._known.move_to_end(digest)
            if len(self._known) > _SECRETS:
                self._known.popitem(last=False)
        return key


def secret_in(headers: Mapping[str, str]) -> str | None:
    """Return the key that a request shows, wherever its client can put one."""
    if own := headers.get(KEY_HEADER):
        return own
    bearer = headers.get("authorization", "")
    for shown in (bearer.removeprefix("Bearer ").strip(), headers.get("x-api-key", "")):
        if shown.startswith(_PREFIX):
            return shown
    return None


def is_ours(name: str, value: str) -> bool:
    """Whether a header carries a key of ours, which upstream must not see."""
    bare = value.removeprefix("Bearer ").strip()
    return name in ("authorization", "x-api-key") and bare.startswith(_PREFIX)
