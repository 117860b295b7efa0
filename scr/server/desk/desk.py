"""What all pages share: who asks, which facts they see, and how a page is made."""

import contextlib
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request

from scr.errors import FactNotFound, ScrError
from scr.facts import Revision
from scr.server.desk import assets
from scr.server.desk.people import Person, Reception
from scr.server.desk.routing import Route, Routes
from scr.server.desk.words import date, exact, moment, words
from scr.store.catalog import Catalog

if TYPE_CHECKING:
    from scr.server.gateway import Gateway

_PAGES: Final[tuple[tuple[str, str], ...]] = (
    ("facts", "Facts"),
    ("review", "Review"),
    ("conflicts", "Conflicts"),
    ("import", "Import"),
    ("playground", "Playground"),
    ("activity", "Activity"),
    ("keys", "Keys and people"),
)
_NEEDS: Final = {"keys": "admin", "import": "editor"}
_TITLES: Final = {
    403: "Not allowed",
    404: "Not found",
    409: "Not possible now",
    429: "Too many at one time",
}
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}


class Desk:
    """The desk of one server."""

    def __init__(self, gateway: "Gateway") -> None:
        """Work on the facts of a gateway's knowledge."""
        self.gateway = gateway
        self.knowledge = gateway.knowledge
        self.store = gateway.knowledge.store
        self.people = self.store.keys.people
        self.reception = Reception(gateway.door, self.people, self.knowledge.author)
        self.catalog = Catalog(self.store)
        self._templates = Environment(
            loader=PackageLoader("scr.server.desk"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._templates.filters |= {"date": date, "exact": exact, "moment": moment, "words": words}
        self._templates.globals["assets"] = assets.ADDRESSES
        self.router = APIRouter(prefix="/ui")
        self.serve([Route("", "GET", lambda: RedirectResponse("/ui/facts", 303))])
        self.serve(assets.routes())

    def serve(self, routes: "Routes | list[Route]") -> None:
        """Add pages."""
        for path, method, answer in routes:
            self.router.add_api_route(path, answer, methods=[method], response_model=None)

    def person(self, request: Request, role: Any = "reader") -> Person:
        """Return who asks, if they may do what `role` may; raises what `Reception.person` does."""
        person = self.reception.person(request)
        person.require(role)
        return person

    def seen(self, person: Person, fact_id: str, as_of: Any = None) -> Revision:
        """Return a fact that somebody may see.

        Raises:
            FactNotFound: there is none, or it is none of theirs.
        """
        revision = self.store.get(fact_id, as_of=as_of)
        if not person.caller.sees(revision.fact.scope):
            raise FactNotFound(fact_id)
        return revision

    def page(
        self,
        template: str,
        request: Request,
        person: Person | None,
        /,
        *,
        code: int = 200,
        **given: Any,
    ) -> Response:
        """Return a page made of a template; `given` is what it shows."""
        here = request.url.path.removeprefix("/ui/").split("/")[0]
        shown = [
            page
            for page in _PAGES
            if person and person.may(_NEEDS.get(page[0], "reader"))  # type: ignore[arg-type]
        ]
        known = {
            "menu": shown, "here": here, "person": person, "said": "", "said_kind": "",
            "waiting": self.waiting(person) if person else 0,
        }  # fmt: skip
        text = self._templates.get_template(template).render({**known, **given})
        return HTMLResponse(text, code, headers=HEADERS)

    def waiting(self, person: Person) -> int:
        """Return how many proposals that somebody may see wait."""
        return self.catalog.count(person.caller.sees, status="proposed")

    def failed(self, request: Request, error: ScrError) -> Response:
        """Return an error as a page; who is not known is asked to sign in."""
        entering = request.url.path.endswith("/sign-in")
        if error.http_status == 401 and not entering:
            if request.headers.get("hx-request"):  # a part of a page: all of it has to go
                return Response(status_code=401, headers={**HEADERS, "hx-redirect": "/ui/sign-in"})
            if request.method == "GET":
                return RedirectResponse("/ui/sign-in", 303, headers=HEADERS)
        if error.http_status == 401 or entering:
            return self.ask_in(request, said=str(error), code=error.http_status)
        message = str(error)
        if error.http_status == 500:
            message = "The server could not do this; its log says why."
        person: Person | None = None
        with contextlib.suppress(ScrError):  # without a person the page has no menu
            person = self.reception.person(request)
        title = _TITLES.get(error.http_status, "This cannot be used")
        return self.page(
            "error.html", request, person, title=title, message=message, code=error.http_status
        )

    def ask_in(self, request: Request, *, said: str = "", code: int = 200) -> Response:
        """Return the page that asks people to sign in."""
        return self.page(
            "sign_in.html", request, None, said=said, said_kind="bad" if said else "", code=code,
            by_name=self.people.any(), by_key=self.gateway.door.keys_needed,
        )  # fmt: skip


def to_fact(fact_id: str) -> Response:
    """Return the way to a fact's page."""
    return RedirectResponse(f"/ui/facts/{fact_id}", 303)
