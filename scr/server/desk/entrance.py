"""Coming in and going, and one's own password."""

from fastapi.responses import RedirectResponse, Response
from starlette.requests import Request

from scr.errors import InvalidInput, SignInRefused, TooManyRequests
from scr.server.desk.desk import Desk
from scr.server.desk.forms import Filled
from scr.server.desk.people import COOKIE
from scr.server.desk.routing import Route, Routes


class EntrancePages:
    """Sign in, sign out, change one's password."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Routes:
        """Yield the pages' routes."""
        yield Route("/sign-in", "GET", self.ask)
        yield Route("/sign-in", "POST", self.sign_in)
        yield Route("/sign-out", "POST", self.sign_out)
        yield Route("/me", "GET", self.me)
        yield Route("/me", "POST", self.change_password)

    def ask(self, request: Request) -> Response:
        """Ask who comes; where nobody has to say, go on."""
        if self._desk.reception.open:
            return RedirectResponse("/ui/facts", 303)
        return self._desk.ask_in(request)

    def sign_in(self, request: Request, form: Filled) -> Response:
        """Let someone in."""
        reception = self._desk.reception
        if key := form.one("key"):
            token = reception.sign_in_by_key(request, key)
        else:
            token = reception.sign_in(request, form.one("name"), form.raw("password"))
        response = RedirectResponse("/ui/facts", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, token, httponly=True, samesite="strict", secure=secure, path="/ui"
        )
        return response

    def sign_out(self, request: Request, form: Filled) -> Response:
        """Let someone go."""
        self._desk.reception.sign_out(request)
        response = RedirectResponse("/ui/sign-in", 303)
        response.delete_cookie(COOKIE, path="/ui")
        return response

    def me(self, request: Request) -> Response:
        """Show who one is."""
        person = self._desk.person(request)
        return self._desk.page("me.html", request, person)

    def change_password(self, request: Request, form: Filled) -> Response:
        """Give oneself a new password."""
        person = self._desk.person(request)
        said, kind, code = "Your password is changed; your other sessions have ended.", "good", 200
        try:
            if not person.has_password:
                raise InvalidInput("you signed in by a key, which has no password")
            if form.raw("new") != form.raw("again"):
                raise InvalidInput("the two new passwords differ; type the same twice")
            self._desk.reception.change_password(request, person, form.raw("old"), form.raw("new"))
        except SignInRefused:
            said, kind, code = "The old password is wrong.", "bad", 422
        except (InvalidInput, TooManyRequests) as error:
            said, kind, code = str(error), "bad", error.http_status
        return self._desk.page("me.html", request, person, said=said, said_kind=kind, code=code)
