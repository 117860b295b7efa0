"""The list of facts: search, facets, both times, kept searches, and new facts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from fastapi.responses import RedirectResponse, Response
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from scr.errors import InvalidInput, ScrError
from scr.facts import Instant, make_fact
from scr.server.desk.desk import Desk, to_fact
from scr.server.desk.forms import Filled, Form
from scr.server.desk.people import Person
from scr.server.desk.routing import Route, Routes
from scr.store.catalog import FACETS, Asked

PAGE: Final = 50  # facts of a page
_VALUES: Final = 10  # of a facet that are shown
_FIELDS: Final = (
    "subject", "aliases", "relation", "target", "statement", "questions", "start", "end",
    "sources", "tags", "scope", "kind", "why",
)  # fmt: skip
_NAMES: Final = {"q", "valid_at", "as_of", *FACETS}
_INSTANT: Final[TypeAdapter[datetime]] = TypeAdapter(Instant)


class Value(NamedTuple):
    """A value of a facet, as a link."""

    name: str
    facts: int
    chosen: bool
    href: str


class FactsPages:
    """Find facts, and write new ones."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Routes:
        """Yield the pages' routes."""
        yield Route("/facts", "GET", self.facts)
        yield Route("/facts", "POST", self.add)
        yield Route("/new", "GET", self.new)
        yield Route("/searches", "POST", self.keep)
        yield Route("/searches/drop", "POST", self.drop)

    def facts(self, request: Request, page: int = 1) -> Response:
        """List what is looked for."""
        person = self._desk.person(request)
        given = {name: value for name, value in request.query_params.items()
                 if name in _NAMES and value.strip()}  # fmt: skip
        wrong = ""
        try:
            asked = asked_by(given)
        except InvalidInput as error:
            wrong = str(error)
            given = {name: value for name, value in given.items() if name not in _TIMES}
            asked = asked_by(given)
        page = max(page, 1)
        found = self._desk.catalog.page(
            asked, person.caller.sees, limit=PAGE, offset=PAGE * (page - 1)
        )
        response = self._desk.page(
            "facts.html", request, person,
            given=given, found=found, page=page, pages=-(-found.total // PAGE), query=_query(given),
            facets={name: _values(name, found.counts[name], given) for name in FACETS},
            kept=self._desk.people.filters(person.owner), wrong=wrong, per_page=PAGE,
            shown_pages=None, href=lambda number: f"/ui/facts?{_query(given, page=str(number))}",
        )  # fmt: skip
        # What is in the address bar can be kept, sent and reloaded.
        address = _query(given, **({"page": str(page)} if page > 1 else {}))
        response.headers["hx-push-url"] = f"/ui/facts?{address}" if address else "/ui/facts"
        return response

    def keep(self, request: Request, form: Filled) -> Response:
        """Keep a search under a name."""
        person = self._desk.person(request)
        given = {name: form.one(name) for name in _NAMES if form.one(name)}
        self._desk.people.keep_filter(person.owner, form.one("name"), _query(given))
        return RedirectResponse(f"/ui/facts?{_query(given)}", 303)

    def drop(self, request: Request, form: Filled) -> Response:
        """Keep a search no longer."""
        person = self._desk.person(request)
        self._desk.people.drop_filter(person.owner, form.one("name"))
        return RedirectResponse("/ui/facts", 303)

    def new(self, request: Request) -> Response:
        """Show an empty fact to fill in."""
        person = self._desk.person(request, "editor")
        return self._new(request, person, dict.fromkeys(_FIELDS, ""))

    def add(self, request: Request, form: Filled) -> Response:
        """Add or propose a fact."""
        person = self._desk.person(request, "editor")
        scope = form.one("scope") or "default"
        person.caller.scope(scope, scope)
        try:
            fact = make_fact(**fields_of(form), scope=scope, kind=form.one("kind") or "fact")
            added = self._desk.store.add(fact, by=person.name, why=form.one("why"))
        except ScrError as error:
            given = {name: form.one(name) for name in _FIELDS}
            return self._new(
                request, person, given, said=str(error), said_kind="bad", code=error.http_status
            )
        return to_fact(added.fact.id)

    def _new(
        self, request: Request, person: Person, given: Mapping[str, str], **more: Any
    ) -> Response:
        return self._desk.page(
            "new.html", request, person, given=given, review=self._desk.store.review,
            here="facts", **more,
        )  # fmt: skip


def fields_of(form: Form) -> dict[str, Any]:
    """Return the fields of a fact that a form fills."""
    return {
        **{name: form.one(name) for name in ("subject", "relation", "target", "statement")},
        **{name: form.lines(name) for name in ("questions", "sources")},
        **{name: form.parts(name) for name in ("aliases", "tags")},
        "validity": {name: form.one(name) or None for name in ("start", "end")},
    }


_TIMES: Final = ("valid_at", "as_of")


def asked_by(given: Mapping[str, str]) -> Asked:
    """Return which facts an address asks for.

    Raises:
        InvalidInput: one of its times cannot be read.
    """
    chosen = {name: given[name] for name in FACETS if name in given}
    as_of: datetime | int | None = None
    if text := given.get("as_of", "").strip():
        as_of = int(text) if text.isdecimal() and len(text) < 18 else when(text)
    valid_at = when(given["valid_at"]) if given.get("valid_at", "").strip() else None
    return Asked(text=given.get("q", ""), chosen=chosen, valid_at=valid_at, as_of=as_of)


def when(text: str) -> datetime:
    """Read a time as browsers send it; without a zone it is UTC.

    Raises:
        InvalidInput: it is none.
    """
    try:
        naive = datetime.fromisoformat(text.strip())
        return _INSTANT.validate_python(naive if naive.tzinfo else naive.replace(tzinfo=UTC))
    except (ValueError, ValidationError) as error:
        raise InvalidInput(
            f"{text!r:.60} is no time: write 2024-03-01 or 2024-03-01 12:00"
        ) from error


def _query(given: Mapping[str, str], **changed: str) -> str:
    """Return the query of an address; a change to nothing leaves a field out."""
    fields = {**given, **changed}
    return urlencode([(name, fields[name]) for name in sorted(fields) if fields[name]])


def _values(
    facet: str, counted: list[tuple[str, int]], given: Mapping[str, str]
) -> tuple[list[Value], int]:
    """Return the values of a facet that are shown, and how many are not."""
    chosen = given.get(facet)
    named = [(name, count) for name, count in counted if name]  # a fact may have no relation
    shown = named[:_VALUES]
    if chosen and chosen not in dict(shown):
        shown = [(chosen, dict(named).get(chosen, 0)), *shown]
    values = [
        Value(name, count, name == chosen,
              f"/ui/facts?{_query(given, **{facet: '' if name == chosen else name})}")
        for name, count in shown
    ]  # fmt: skip
    return values, max(len(named) - _VALUES, 0)
