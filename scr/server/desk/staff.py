"""Keys and people: who may ask, and who may sign in."""

from typing import Any

from fastapi.responses import RedirectResponse, Response
from starlette.requests import Request

from scr.errors import InvalidInput, ScrError
from scr.facts import normalize
from scr.server.access import ROLES
from scr.server.desk.desk import Desk
from scr.server.desk.forms import Filled, Form
from scr.server.desk.people import Person
from scr.server.desk.routing import Route, Routes
from scr.store.people import SHORTEST


class StaffPages:
    """Administrators' pages."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Routes:
        """Yield the pages' routes."""
        yield Route("/keys", "GET", self.staff)
        yield Route("/keys", "POST", self.make_key)
        yield Route("/keys/{key_id}/revoke", "POST", self.revoke_key)
        yield Route("/people", "POST", self.add_person)
        yield Route("/people/password", "POST", self.set_password)
        yield Route("/people/remove", "POST", self.remove_person)

    def staff(self, request: Request) -> Response:
        """List people and keys."""
        return self._page(request, self._desk.person(request, "admin"))

    def make_key(self, request: Request, form: Filled) -> Response:
        """Make a key, and show its secret."""
        person = self._desk.person(request, "admin")
        try:
            role, scopes = _role(form), form.parts("scopes")
            name = form.one("name")
            _, secret = self._desk.store.keys.create(role, scopes, by=person.name, name=name)
        except InvalidInput as error:
            return self._refused(request, person, error)
        response = self._page(request, person, secret=secret)
        # Afterwards: whoever made the first key has just lost their seat.
        self._desk.gateway.door.refresh()
        return response

    def revoke_key(self, request: Request, key_id: str, form: Filled) -> Response:
        """Revoke a key."""
        self._desk.person(request, "admin")
        self._desk.store.keys.revoke(key_id)
        self._desk.gateway.door.refresh()
        return RedirectResponse("/ui/keys", 303)

    def add_person(self, request: Request, form: Filled) -> Response:
        """Let someone sign in with a password."""
        person = self._desk.person(request, "admin")
        people, role = self._desk.people, _role(form)
        first = self._desk.reception.open
        try:
            if first and role != "admin":
                raise InvalidInput(
                    "the first person has to be an administrator: from then on everyone signs in, "
                    "and somebody has to let the others in"
                )
            scopes = form.parts("scopes")
            added = people.add(form.one("name"), form.raw("password"), role, scopes, by=person.name)
        except InvalidInput as error:
            return self._refused(request, person, error)
        if first:
            return RedirectResponse("/ui/sign-in", 303)
        return self._page(
            request, person, said_kind="good",
            said=f"{added.name} may sign in now: hand over the password in person, and ask them to "
            "change it (they click their name).",
        )  # fmt: skip

    def set_password(self, request: Request, form: Filled) -> Response:
        """Give someone a new password."""
        person = self._desk.person(request, "admin")
        try:
            account = self._desk.people.set_password(form.one("name"), form.raw("password"))
        except InvalidInput as error:
            return self._refused(request, person, error)
        if person.has_password and normalize(account.name) == normalize(person.name):
            return RedirectResponse("/ui/sign-in", 303)
        said = f"{account.name} has a new password; their sessions have ended."
        return self._page(request, person, said=said, said_kind="good")

    def remove_person(self, request: Request, form: Filled) -> Response:
        """Let someone sign in no longer."""
        person = self._desk.person(request, "admin")
        name = form.one("name")
        if person.has_password and normalize(name) == normalize(person.name):
            error = InvalidInput("nobody removes themselves: another administrator can")
            return self._refused(request, person, error)
        self._desk.people.remove(name)
        return RedirectResponse("/ui/keys", 303)

    def _refused(self, request: Request, person: Person, error: ScrError) -> Response:
        said = str(error)
        return self._page(request, person, said=said, said_kind="bad", code=error.http_status)

    def _page(self, request: Request, person: Person, **given: Any) -> Response:
        known = {
            "secret": "", "keys": self._desk.store.keys.list(), "people": self._desk.people.list(),
            "roles": ROLES, "shortest": SHORTEST, "open": self._desk.reception.open, "here": "keys",
        }  # fmt: skip
        return self._desk.page("keys.html", request, person, **{**known, **given})


def _role(form: Form) -> Any:
    role = form.one("role")
    if role not in ROLES:
        raise InvalidInput(f"{role!r:.40} is no role: choose one of {', '.join(ROLES)}")
    return role
