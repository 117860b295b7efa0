"""The pages of the desk. Each reads the store, and writes by the same calls as everything else."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from langchain_core.messages import convert_to_messages
from starlette.requests import Request

from scr.errors import FactConflict, FactNotFound, PackInvalid, ScrError, TransitionRefused
from scr.facts import Fact, Revision, Validity, make_fact
from scr.records import Decision
from scr.server.desk.people import COOKIE, Person, Reception, require_own_page
from scr.server.limits import read_body
from scr.server.local import LocalModel
from scr.store import Source, tasks

if TYPE_CHECKING:
    from scr.server.gateway import Gateway

PAGE: Final = 50  # facts of a page
_LATEST: Final = 40  # changes and requests that are shown
_FORM_BYTES: Final = 5_000_000
_PAGES: Final[tuple[tuple[str, str], ...]] = (
    ("facts", "Facts"),
    ("review", "Review"),
    ("import", "Import"),
    ("playground", "Playground"),
    ("activity", "Activity"),
    ("keys", "Keys"),
)
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
_STYLE: Final = files("scr.server.desk").joinpath("static/desk.css").read_bytes()
_STYLE_HASH: Final = hashlib.sha256(_STYLE).hexdigest()[:16]

Form = dict[str, list[str]]


async def read_form(request: Request) -> Form:
    """Return a form's fields, each with its values; the request must come from our own page."""
    require_own_page(request)
    declared = request.headers.get("content-length")
    body = await read_body(request.stream(), declared, _FORM_BYTES, seconds=30)
    form: Form = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        form.setdefault(name, []).append(value.replace("\r\n", "\n"))
    return form


Filled = Annotated[Form, Depends(read_form)]


def add_desk(app: FastAPI, gateway: "Gateway") -> None:
    """Add the desk's pages to the server."""
    desk = Desk(gateway)
    app.state.desk = desk
    app.include_router(desk.router, include_in_schema=False)


class Desk:
    """The desk of one server."""

    def __init__(self, gateway: "Gateway") -> None:
        """Work on the facts of a gateway's knowledge."""
        self._gateway = gateway
        self._knowledge = gateway.knowledge
        self._store = gateway.knowledge.store
        self._reception = Reception(gateway.door, self._knowledge.author)
        self._templates = Environment(
            loader=PackageLoader("scr.server.desk"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self.router = APIRouter(prefix="/ui")
        for path, method, page in self._routes():
            self.router.add_api_route(path, page, methods=[method], response_model=None)

    def _routes(self) -> Iterator[tuple[str, str, Any]]:
        yield "", "GET", lambda: RedirectResponse("/ui/facts", 303)
        yield "/static/desk.css", "GET", self.style
        yield "/sign-in", "GET", self.sign_in
        yield "/sign-in", "POST", self.signed_in
        yield "/sign-out", "POST", self.sign_out
        yield "/facts", "GET", self.facts
        yield "/new", "GET", self.new
        yield "/facts", "POST", self.add
        yield "/facts/{fact_id}", "GET", self.fact
        yield "/facts/{fact_id}/{move}", "POST", self.change
        yield "/undo/{sequence}", "POST", self.undo
        yield "/review", "GET", self.review
        yield "/review", "POST", self.decide
        yield "/review/{fact_id}", "GET", self.proposal
        yield "/import", "GET", self.import_form
        yield "/import", "POST", self.import_pack
        yield "/playground", "GET", self.playground
        yield "/activity", "GET", self.activity
        yield "/keys", "GET", self.keys
        yield "/keys", "POST", self.make_key
        yield "/keys/{key_id}/revoke", "POST", self.revoke_key

    # Coming in

    def style(self) -> Response:
        """Return the style sheet; its name in the pages changes with it."""
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(_STYLE, media_type="text/css", headers=headers)

    def sign_in(self, request: Request) -> Response:
        """Ask for a key."""
        return self._page("sign_in.html", request, None)

    def signed_in(self, request: Request, form: Filled) -> Response:
        """Let someone in."""
        token = self._reception.sign_in(request, _one(form, "key"))
        response = RedirectResponse("/ui/facts", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, token, httponly=True, samesite="strict", secure=secure, path="/ui"
        )
        return response

    def sign_out(self, request: Request, form: Filled) -> Response:
        """Let someone go."""
        self._reception.sign_out(request)
        response = RedirectResponse("/ui/sign-in", 303)
        response.delete_cookie(COOKIE, path="/ui")
        return response

    # Facts

    def facts(self, request: Request, q: str = "", status: str = "any", page: int = 1) -> Response:
        """List and search facts."""
        person = self._reception.person(request)
        chosen: Any = None if status not in ("approved", "proposed", "draft", "retired") else status
        page = max(page, 1)
        if q.strip():
            found = self._store.search(q, limit=PAGE * page + 1, status=chosen)
            found = [revision for revision in found if person.caller.sees(revision.fact.scope)]
            total, found = len(found), found[PAGE * (page - 1) :]
        else:
            seen = [r for r in self._store.list(status=chosen) if person.caller.sees(r.fact.scope)]
            total, found = len(seen), seen[PAGE * (page - 1) :]
        return self._page(
            "facts.html", request, person,
            found=found[:PAGE], more=len(found) > PAGE, total=total, asked=q, status=status,
            page=page,
        )  # fmt: skip

    def new(self, request: Request) -> Response:
        """Show an empty fact to fill in."""
        person = self._reception.person(request)
        person.require("editor")
        given = dict.fromkeys(_FIELDS, "")
        return self._page("new.html", request, person, given=given, review=self._store.review)

    def add(self, request: Request, form: Filled) -> Response:
        """Add or propose a fact."""
        person = self._reception.person(request)
        person.require("editor")
        scope = _one(form, "scope") or "default"
        person.caller.scope(scope, scope)
        fields: dict[str, Any] = {
            name: _one(form, name) for name in ("subject", "relation", "target", "statement")
        }
        fields |= {name: _lines(form, name) for name in ("questions", "sources")}
        aliases = [part.strip() for part in _one(form, "aliases").split(",") if part.strip()]
        validity = {name: _one(form, name) or None for name in ("start", "end")}
        given = {name: _one(form, name) for name in _FIELDS}
        try:
            fact = make_fact(**fields, aliases=aliases, validity=validity, scope=scope)
            added = self._store.add(fact, by=person.name, why=_one(form, "why"))
        except ScrError as error:
            return self._page(
                "new.html", request, person, given=given, review=self._store.review,
                said=str(error), said_kind="bad", code=error.http_status,
            )  # fmt: skip
        return _to_fact(added.fact.id)

    def fact(self, request: Request, fact_id: str) -> Response:
        """Show everything about a fact."""
        person = self._reception.person(request)
        revision = self._seen(person, fact_id)
        history = self._store.history(fact_id)
        rows = [{"revision": history[0], "changed": []}]
        for before, after in pairwise(history):
            rows.append({"revision": after, "changed": _changed(before.fact, after.fact)})
        used = {each.fact_id: each for each in self._store.usage.list()}.get(fact_id)
        tests = self._knowledge.check([fact_id]) if revision.status == "approved" else []
        return self._page(
            "fact.html", request, person,
            revision=revision, history=rows[::-1], used=used, tests=tests,
            span=_span(revision.fact.validity, datetime.now(UTC)), here="facts",
        )  # fmt: skip

    def change(self, request: Request, fact_id: str, move: str, form: Filled) -> Response:
        """Comment on a fact, supersede or retire it, or change its tests."""
        person = self._reception.person(request)
        person.require("approver" if move == "retire" else "editor")
        self._seen(person, fact_id)
        by, why = person.name, _one(form, "why")
        if move == "comment":
            self._store.comment(fact_id, why, by=by)
        elif move == "retire":
            self._store.retire(fact_id, by=by, why=why)
        elif move == "tests":
            tests = {name: _lines(form, name) for name in ("must_fire", "must_not_fire")}
            self._store.revise(fact_id, tests, by=by, why=why)
        elif move == "supersede":
            validity = {"start": _one(form, "start") or None}
            target = _one(form, "target")
            added = self._knowledge.supersede(fact_id, target, by=by, why=why, validity=validity)
            return _to_fact(added.fact.id)
        else:
            raise FactNotFound(f"{fact_id}/{move}")
        return _to_fact(fact_id)

    def undo(self, request: Request, sequence: int, form: Filled) -> Response:
        """Undo a change."""
        person = self._reception.person(request)
        person.require("approver")
        changed = next(iter(self._store.changes(sequence - 1)), None)
        if changed is not None:
            self._seen(person, changed.fact.id)
        undone = self._store.undo(sequence, by=person.name, why=_one(form, "why"))
        return _to_fact(undone[0].fact.id)

    # Review

    def review(self, request: Request) -> Response:
        """Show what waits and what wants attention."""
        person = self._reception.person(request)
        latest = [r for r in self._store.list(status=None) if person.caller.sees(r.fact.scope)]
        waiting = [r for r in latest if r.status in ("proposed", "draft")]
        found = tasks(latest, datetime.now(UTC))
        return self._page(
            "review.html", request, person,
            waiting_list=waiting, todo=[t for t in found if t.queue != "waiting"][:100],
            four_eyes=self._store.four_eyes,
        )  # fmt: skip

    def decide(self, request: Request, form: Filled) -> Response:
        """Approve or reject proposals; what cannot be is said, and the others are done."""
        person = self._reception.person(request)
        person.require("approver")
        move, why, refused, done = _one(form, "move"), _one(form, "why"), [], 0
        for fact_id in form.get("id", []):
            try:
                self._seen(person, fact_id)
                call = self._store.approve if move == "approve" else self._store.retire
                call(fact_id, by=person.name, why=why)
                done += 1
            except (FactConflict, TransitionRefused, FactNotFound) as error:
                refused.append(str(error))
        if refused:
            message = " ".join([f"{done} done.", *refused])
            return self._page(
                "error.html", request, person, title="Not everything could be done",
                message=message, code=409,
            )  # fmt: skip
        return RedirectResponse("/ui/review", 303)

    def proposal(self, request: Request, fact_id: str) -> Response:
        """Show a proposal beside what it replaces, and what it would change."""
        person = self._reception.person(request)
        revision = self._seen(person, fact_id)
        conflict, preview = "", None
        if revision.status in ("proposed", "draft"):
            try:
                preview = self._knowledge.preview(fact_id)
            except (FactConflict, TransitionRefused) as error:
                conflict = str(error)
        old: Fact | None = None
        if revision.fact.supersedes:
            old = self._store.get(revision.fact.supersedes).fact
        elif len(history := self._store.history(fact_id)) > 1:
            approved = [each.fact for each in history if each.status == "approved"]
            old = approved[-1] if approved else None
        return self._page(
            "proposal.html", request, person,
            revision=revision, old=old, conflict=conflict, preview=preview, here="review",
        )  # fmt: skip

    # Import

    def import_form(self, request: Request) -> Response:
        """Show where to paste a pack."""
        person = self._reception.person(request)
        person.require("editor")
        return self._import_page(request, person)

    def import_pack(self, request: Request, form: Filled) -> Response:
        """Show what a pack would change, or take it in."""
        person = self._reception.person(request)
        person.require("editor")
        pack, why = _one(form, "pack"), _one(form, "why")
        source = Source("the pack", pack.encode("utf-8", "replace").splitlines(keepends=True))
        done = _one(form, "move") == "apply"
        try:
            for line in pack.splitlines():
                self._require_scope(person, line)
            if done:
                plan = self._store.apply([source], by=person.name, why=why)
            else:
                plan = self._store.plan([source], by=person.name)
        except PackInvalid as error:
            return self._import_page(
                request, person, pack=pack, why=why, problems=error.problems, code=422
            )
        shown = "" if done else pack
        return self._import_page(request, person, pack=shown, why=why, plan=plan, done=done)

    def _require_scope(self, person: Person, line: str) -> None:
        try:
            fields = json.loads(line)
        except ValueError:
            return  # the import itself says what is wrong with it
        if isinstance(fields, dict) and isinstance(fields.get("scope"), str):
            person.caller.scope(fields["scope"], "default")
        elif person.caller.scopes is not None and not person.caller.sees("default"):
            person.caller.scope("default", "default")

    def _import_page(
        self, request: Request, person: Person, *, code: int = 200, **given: Any
    ) -> Response:
        blank = {"pack": "", "why": "", "problems": (), "plan": None, "done": False}
        known = {**blank, "review": self._store.review, **given}
        return self._page("import.html", request, person, code=code, **known)

    # Trying and looking

    def playground(self, request: Request, q: str = "") -> Response:
        """Decide on a question, and show why."""
        person = self._reception.person(request)
        scope = person.caller.scope(None, self._knowledge.settings.scope)
        decision: Decision | None = None
        answers: tuple[str, str] | None = None
        if q.strip():
            decision = self._knowledge.decide(q, scope=scope)
            answers = self._answers(q, scope)
        return self._page(
            "playground.html", request, person,
            asked=q, decision=decision, answers=answers,
            marked=_marked(q, decision) if decision else [],
            shown=_shown(decision) if decision else [],
        )  # fmt: skip

    def _answers(self, question: str, scope: str) -> tuple[str, str] | None:
        """Return what a local model says without and with the facts."""
        behind = self._gateway.behind
        if not isinstance(behind, LocalModel):
            return None
        asked = [{"role": "user", "content": question}]
        composed, _ = self._knowledge.run(asked, scope=scope)
        asks = [convert_to_messages([dict(m) for m in each]) for each in (asked, composed)]
        said = [behind.chat.invoke(each) for each in asks]
        return str(said[0].text), str(said[1].text)

    def activity(self, request: Request) -> Response:
        """Show the latest changes and requests."""
        person = self._reception.person(request)
        since = max(self._store.sequence - _LATEST, 0)
        changes = [c for c in self._store.changes(since) if person.caller.sees(c.fact.scope)]
        traces = [t for t in self._store.traces(_LATEST) if person.caller.explains(t)]
        return self._page("activity.html", request, person, changes=changes[::-1], traces=traces)

    # Keys

    def keys(self, request: Request) -> Response:
        """List the keys."""
        person = self._reception.person(request)
        person.require("admin")
        return self._page("keys.html", request, person, keys=self._store.keys.list(), secret="")

    def make_key(self, request: Request, form: Filled) -> Response:
        """Make a key, and show its secret."""
        person = self._reception.person(request)
        person.require("admin")
        scopes = [part.strip() for part in _one(form, "scopes").split(",") if part.strip()]
        role: Any = _one(form, "role")
        _, secret = self._store.keys.create(role, scopes, by=person.name, name=_one(form, "name"))
        keys = self._store.keys.list()
        response = self._page("keys.html", request, person, keys=keys, secret=secret)
        self._gateway.door.refresh()  # afterwards: whoever made the first key just lost their seat
        return response

    def revoke_key(self, request: Request, key_id: str, form: Filled) -> Response:
        """Revoke a key."""
        person = self._reception.person(request)
        person.require("admin")
        self._store.keys.revoke(key_id)
        self._gateway.door.refresh()
        return RedirectResponse("/ui/keys", 303)

    # How pages are made

    def failed(self, request: Request, error: ScrError) -> Response:
        """Return an error as a page; who is not known is asked to sign in."""
        if error.http_status == 401:
            if request.method == "GET" and not request.url.path.endswith("/sign-in"):
                return RedirectResponse("/ui/sign-in", 303, headers=_HEADERS)
            return self._page(
                "sign_in.html", request, None, said=str(error), said_kind="bad", code=401
            )
        titles = {403: "Not allowed", 404: "Not found", 409: "Not possible now"}
        message = str(error)
        if error.http_status == 500:
            message = "The server could not do this; its log says why."
        person: Person | None = None
        with contextlib.suppress(ScrError):  # without a person the page has no menu
            person = self._reception.person(request)
        title = titles.get(error.http_status, "Something is wrong")
        return self._page(
            "error.html", request, person, title=title, message=message, code=error.http_status
        )

    def _page(
        self, name: str, request: Request, person: Person | None, *, code: int = 200, **given: Any
    ) -> Response:
        here = request.url.path.removeprefix("/ui/").split("/")[0]
        shown = [page for page in _PAGES if person and (page[0] != "keys" or person.may("admin"))]
        known = {
            "style_hash": _STYLE_HASH, "pages": shown, "here": here, "person": person,
            "waiting": self._waiting(person) if person else 0, "said": "", "said_kind": "",
        }  # fmt: skip
        text = self._templates.get_template(name).render({**known, **given})
        return HTMLResponse(text, code, headers=_HEADERS)

    def _waiting(self, person: Person) -> int:
        found = self._store.list(status="proposed", limit=100)
        return sum(person.caller.sees(revision.fact.scope) for revision in found)

    def _seen(self, person: Person, fact_id: str) -> Revision:
        revision = self._store.get(fact_id)
        if not person.caller.sees(revision.fact.scope):
            raise FactNotFound(fact_id)
        return revision


_FIELDS: Final = (
    "subject", "aliases", "relation", "target", "statement", "questions", "start", "end",
    "sources", "scope", "why",
)  # fmt: skip


def _one(form: Form, name: str) -> str:
    return form.get(name, [""])[0].strip()


def _lines(form: Form, name: str) -> list[str]:
    return [line.strip() for line in _one(form, name).split("\n") if line.strip()]


def _to_fact(fact_id: str) -> Response:
    return RedirectResponse(f"/ui/facts/{fact_id}", 303)


def _changed(before: Fact, after: Fact) -> list[tuple[str, str, str]]:
    return [
        (name.replace("_", " "), _text(getattr(before, name)), _text(getattr(after, name)))
        for name in Fact.model_fields
        if getattr(before, name) != getattr(after, name)
    ]


def _text(value: object) -> str:
    if isinstance(value, Validity):
        start, end = (each.date() if each else "…" for each in (value.start, value.end))
        return f"{start} to {end}"
    if isinstance(value, tuple):
        return "; ".join(map(str, value)) or "none"
    return str(value) or "none"


def _span(validity: Validity, now: datetime) -> tuple[float, float, float] | None:
    """Return start, width and the present on a line of 100; `None` where it always holds."""
    if validity.start is None and validity.end is None:
        return None
    known = [each for each in (validity.start, validity.end, now) if each is not None]
    first, last = min(known), max(known)
    margin = max((last - first) * 0.15, timedelta(days=30))
    low, whole = first - margin, (last - first) + 2 * margin

    def place(when: datetime) -> float:
        return round(100 * ((when - low) / whole), 2)

    start = place(validity.start) if validity.start else 0.0
    end = place(validity.end) if validity.end else 100.0
    return start, round(end - start, 2), place(now)


def _marked(question: str, decision: Decision) -> list[tuple[str, bool]]:
    """Return the question in parts, each with whether it grounds a subject."""
    best = decision.matches or ([decision.runner_up] if decision.runner_up else [])
    mentions = [match.evidence.mention for match in best]
    spans = sorted({(m.start, m.end) for m in mentions if m is not None and m.turn is None})
    parts: list[tuple[str, bool]] = []
    at = 0
    for start, end in spans:
        if start >= at:
            parts += [(question[at:start], False), (question[start:end], True)]
            at = end
    return [*parts, (question[at:], False)]


def _shown(decision: Decision) -> Sequence[tuple[Any, bool]]:
    applied: Iterable[Any] = decision.matches
    shown = [(match, True) for match in applied]
    return [*shown, *([(decision.runner_up, False)] if decision.runner_up else [])]
