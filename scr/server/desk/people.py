"""Who sits at the desk: sessions, roles, and requests from other sites."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request

from scr.errors import KeyForbids, KeyRequired, PersonNotFound
from scr.facts import normalize
from scr.records import Role
from scr.server.access import KEY_HEADER, ROLES, Caller, Doorkeeper
from scr.server.desk.attempts import Attempts
from scr.store import Account
from scr.store.people import People

COOKIE: Final = "scr_session"
_LASTING: Final = 12 * 3600.0  # seconds of a session
_SESSIONS: Final = 10_000  # that are kept; the oldest go first


class Person(NamedTuple):
    """Who sits at the desk."""

    name: str
    """As the history names them."""

    role: Role
    signed_in: bool
    """Whether by key or password; otherwise nobody needs to be known."""

    caller: Caller
    has_password: bool = False

    @property
    def owner(self) -> str:
        """What their own searches are kept under."""
        return f"person {normalize(self.name)}" if self.has_password else f"key {self.caller.key}"

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


class _Session(NamedTuple):
    since: float
    key: str = ""
    account: Account | None = None


class Reception:
    """Lets people in by password or key, and remembers them for a while."""

    def __init__(
        self,
        door: Doorkeeper,
        people: People,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Check keys at `door`; where there are neither keys nor people, everyone is `owner`."""
        self._door = door
        self._people = people
        self._owner = owner
        self._clock = clock
        self._attempts = Attempts(clock)
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    @property
    def open(self) -> bool:
        """Whether nobody needs to sign in: there never was a key or a person."""
        return not self._door.keys_needed and not self._people.any()

    def sign_in_by_key(self, request: Request, key: str) -> str:
        """Return the token of a new session.

        Raises:
            KeyRequired: the key is not in force.
            TooManyRequests: too many attempts have failed.
        """
        with self._attempts.counted(_address(request)):
            if not self._door.keys_needed:
                raise KeyRequired("there are no keys here: sign in with name and password")
            self._check(request, key)
        return self._begin(_Session(self._clock(), key=key))

    def sign_in(self, request: Request, name: str, password: str) -> str:
        """Return the token of a new session.

        Raises:
            SignInRefused: name and password do not belong together.
            TooManyRequests: too many attempts have failed.
        """
        with self._attempts.counted(_address(request), normalize(name)):
            account = self._people.sign_in(name, password)
        return self._begin(_Session(self._clock(), account=account))

    def change_password(self, request: Request, person: Person, old: str, new: str) -> None:
        """Give someone at the desk a new password; this session goes on, their others end.

        Raises:
            SignInRefused: the old one is wrong.
            InvalidInput: the new one cannot be used.
        """
        with self._attempts.counted(_address(request), normalize(person.name)):
            self._people.sign_in(person.name, old)
        account = self._people.set_password(person.name, new)
        with self._lock:
            token = request.cookies.get(COOKIE, "")
            self._sessions[token] = self._sessions[token]._replace(account=account)

    def sign_out(self, request: Request) -> None:
        """Forget the session of a request."""
        with self._lock:
            self._sessions.pop(request.cookies.get(COOKIE, ""), None)

    def person(self, request: Request) -> Person:
        """Return who asks.

        Raises:
            KeyRequired: nobody who is known.
            KeyForbids: a page of another site, or another machine where no key is needed.
        """
        if self.open:
            caller = self._check(request, "")
            return Person(self._owner, "admin", False, caller)
        with self._lock:
            session = self._sessions.get(request.cookies.get(COOKIE, ""))
        if session is None or self._clock() - session.since > _LASTING:
            raise KeyRequired("sign in first")
        if session.account is not None:
            return self._known(session.account)
        if not self._door.keys_needed:  # or any key would do
            raise KeyRequired("sign in first")
        caller = self._check(request, session.key)
        return Person(self._door.name_of(caller.name), caller.role, True, caller)

    def _known(self, then: Account) -> Person:
        """Return someone as they are now: roles change, and a new password ends old sessions."""
        try:
            account = self._people.get(then.name)
        except PersonNotFound as error:
            raise KeyRequired("you may sign in no longer: ask an administrator") from error
        if account.changed != then.changed:
            raise KeyRequired("your password was changed: sign in again")
        caller = Caller(f"person {account.name}", account.scopes, account.role)
        return Person(account.name, account.role, True, caller, has_password=True)

    def _begin(self, session: _Session) -> str:
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[token] = session
            while len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)
        return token

    def _check(self, request: Request, key: str) -> Caller:
        headers = {"host": request.headers.get("host", ""), KEY_HEADER: key}
        for name in ("origin", "sec-fetch-site"):
            if (value := request.headers.get(name)) is not None:
                headers[name] = value
        return self._door.admit(headers, _address(request))


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


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
