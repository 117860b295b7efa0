"""Proposals: the queue, one beside what it replaces, what it would change, yes or no."""

from typing import Final

from fastapi.responses import RedirectResponse, Response
from starlette.requests import Request

from scr.errors import (
    FactConflict,
    FactNotFound,
    InvalidInput,
    OwnProposal,
    ScrError,
    TransitionRefused,
)
from scr.facts import Fact, Revision
from scr.server.desk.desk import Desk
from scr.server.desk.forms import Filled
from scr.server.desk.people import Person
from scr.server.desk.routing import Route, Routes
from scr.server.desk.words import side_by_side
from scr.store.catalog import Asked

PAGE: Final = 50  # proposals of a page
AT_ONCE: Final = 300
"""Approved facts up to which the preview is in the page; with more, it comes when it is ready."""


class ReviewPages:
    """What waits for approval."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Routes:
        """Yield the pages' routes."""
        yield Route("/review", "GET", self.review)
        yield Route("/review", "POST", self.decide)
        yield Route("/review/{fact_id}", "GET", self.proposal)
        yield Route("/review/{fact_id}/preview", "GET", self.preview)

    def review(self, request: Request, page: int = 1) -> Response:
        """Show what waits, the latest first."""
        person = self._desk.person(request)
        page = max(page, 1)
        waiting = self._desk.catalog.page(
            Asked(chosen={"status": "proposed"}), person.caller.sees, limit=PAGE,
            offset=PAGE * (page - 1), facets=(),
        )  # fmt: skip
        return self._desk.page(
            "review.html", request, person,
            found=waiting, page=page, pages=-(-waiting.total // PAGE),
            href=lambda number: f"/ui/review?page={number}", four_eyes=self._desk.store.four_eyes,
        )  # fmt: skip

    def decide(self, request: Request, form: Filled) -> Response:
        """Approve or reject proposals; what cannot be is said, and the others are done."""
        person = self._desk.person(request, "approver")
        move, why = form.one("move"), form.one("why")
        chosen = form.all("shown") if form.one("all") else form.all("id")
        if move not in ("approve", "retire"):
            raise InvalidInput(f"{move!r:.40} is no decision: approve or reject")
        if not chosen:
            raise InvalidInput("no proposal is chosen: tick the boxes of those that you mean")
        if move == "retire" and not why:
            raise InvalidInput("say why you reject it: whoever proposed it will want to know")
        refused: list[tuple[str, ScrError]] = []
        for fact_id in chosen:
            try:
                self._decide(person, fact_id, move, why)
            except (FactConflict, TransitionRefused, FactNotFound, OwnProposal) as error:
                refused.append((fact_id, error))
        if not refused:
            return RedirectResponse("/ui/review", 303)
        code = refused[0][1].http_status if len(chosen) == 1 else 409
        return self._desk.page(
            "refused.html", request, person, done=len(chosen) - len(refused),
            refused=[(fact_id, str(error)) for fact_id, error in refused], code=code,
        )  # fmt: skip

    def _decide(self, person: Person, fact_id: str, move: str, why: str) -> None:
        revision = self._desk.seen(person, fact_id)
        store = self._desk.store
        if move == "approve":
            store.approve(fact_id, by=person.name, why=why)
        elif revision.status == "approved":  # somebody was faster: not what they rejected
            hint = "it was approved in the meantime; retire it on its own page"
            raise TransitionRefused(fact_id, revision.status, "reject", hint)
        else:
            store.retire(fact_id, by=person.name, why=why)

    def proposal(self, request: Request, fact_id: str) -> Response:
        """Show a proposal beside what it replaces, and what approving it would change."""
        person = self._desk.person(request)
        revision = self._desk.seen(person, fact_id)
        old = self._old(person, revision)
        few = self._desk.catalog.count(lambda _scope: True, status="approved") <= AT_ONCE
        return self._desk.page(
            "proposal.html", request, person,
            revision=revision, old=old, rows=side_by_side(old, revision.fact) if old else [],
            conflict=self._conflict(revision), preview=self._preview(revision) if few else None,
            few=few, here="review", four_eyes=self._desk.store.four_eyes,
        )  # fmt: skip

    def preview(self, request: Request, fact_id: str) -> Response:
        """Show what approving a proposal would change, by itself."""
        person = self._desk.person(request)
        revision = self._desk.seen(person, fact_id)
        return self._desk.page(
            "preview.html", request, person,
            revision=revision, preview=self._preview(revision),
            conflict=self._conflict(revision), here="review",
        )  # fmt: skip

    def _conflict(self, revision: Revision) -> str:
        """Return why a proposal cannot be approved; empty where it can."""
        if revision.status not in ("proposed", "draft"):
            return ""
        try:
            self._desk.store.rehearse_approval(revision.fact.id)
        except (FactConflict, TransitionRefused, FactNotFound, InvalidInput) as error:
            return str(error)
        except OwnProposal:
            return ""  # nobody rehearses in their own name
        return ""

    def _preview(self, revision: Revision) -> object:
        if revision.status not in ("proposed", "draft"):
            return None
        try:
            return self._desk.knowledge.preview(revision.fact.id)
        except (FactConflict, TransitionRefused, FactNotFound, InvalidInput):
            return None  # what stands against it is said by itself

    def _old(self, person: Person, revision: Revision) -> Fact | None:
        """Return what a proposal replaces: the fact that it supersedes, or itself as it was."""
        if revision.fact.supersedes:
            return self._desk.seen(person, revision.fact.supersedes).fact
        approved = [
            each.fact
            for each in self._desk.store.history(revision.fact.id)
            if each.status == "approved"
        ]
        return approved[-1] if approved else None
