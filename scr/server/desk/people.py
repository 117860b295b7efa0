"""Who sits at the desk: sessions, roles, and requests from other sites."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request

from scr.errors import KeyForbids, KeyRequired
from scr.records import Role
from scr.server.access import KEY_HEADER, ROLES, Caller, Doorkeeper

COOKIE: Final = "scr_session"
_LASTING: Final = 12 * 3600.0  # seconds of a session
_SESSIONS: Final = 10_000  # that are kept; the oldest go first


class Person(NamedTuple):
    """Who sits at the desk."""

    name: str
    """As the history names them."""

    role: Role
    signed_in: bool
    """Whether by a key; otherwise no key is needed."""

    caller: Caller

    def may(self, role: Role) -> bool:
        """Whether they may do what `role` may."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def require(self, role: Role) -> None:
        """Refuse what `role` may and they may not.

        Raises:
            KeyForbids: they may not.
        """
        if not self.may(role):
            raise KeyForbids(f"this takes the role {role}; yours is {self.role}")


class Reception:
    """Lets people in by their keys, and remembers them for a while."""

    def __init__(
        self, door: Doorkeeper, owner: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Check keys at `door`; without any, everyone on this machine is `owner`."""
        self._door = door
        self._owner = owner
        self._clock = clock
        self._sessions: OrderedDict[str, tuple[float, str]] = OrderedDict()  # token -> since, key

    def sign_in(self, request: Request, key: str) -> str:
        """Return the token of a new session.

        Raises:
            KeyRequired: the key is not in force.
        """
        self._check(request, key)
        token = secrets.token_urlsafe(32)
        self._sessions[token] = (self._clock(), key)
        while len(self._sessions) > _SESSIONS:
            self._sessions.popitem(last=False)
        return token

    def sign_out(self, request: Request) -> None:
        """Forget the session of a request."""
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)

    def person(self, request: Request) -> Person:
        """Return who asks.

        Raises:
            KeyRequired: nobody who is known.
            KeyForbids: a page of another site, or another machine where no key is needed.
        """
        if not self._door.keys_needed:
            caller = self._check(request, "")
            return Person(self._owner, "admin", False, caller)
        since, key = self._sessions.get(request.cookies.get(COOKIE, ""), (0.0, ""))
        if not key or self._clock() - since > _LASTING:
            raise KeyRequired("sign in first")
        caller = self._check(request, key)
        return Person(self._door.name_of(caller.name), caller.role, True, caller)

    def _check(self, request: Request, key: str) -> Caller:
        address = request.client.host if request.client else ""
        headers = {"host": request.headers.get("host", ""), KEY_HEADER: key}
        for name in ("origin", "sec-fetch-site"):
            if (value := request.headers.get(name)) is not None:
                headers[name] = value
        return self._door.admit(headers, address)


def require_own_page(request: Request) -> None:
    """Refuse a change that a page of another site asks for (CSRF).

    Browsers say where a request comes from; without that word it comes from no page.

    Raises:
        KeyForbids: it comes from elsewhere.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if site not in (None, "same-origin", "none") or foreign:
        raise KeyForbids("this change was asked for by a page of another site")
