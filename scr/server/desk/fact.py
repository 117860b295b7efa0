"""The page of one fact, and what can be done to it."""

from itertools import pairwise
from typing import Any, Final

from fastapi.responses import Response
from starlette.requests import Request

from scr.errors import FactNotFound, InvalidInput
from scr.facts import Fact, Revision
from scr.server.desk.desk import Desk, to_fact
from scr.server.desk.facts import asked_by, fields_of
from scr.server.desk.forms import Filled, Form
from scr.server.desk.people import Person
from scr.server.desk.routing import Route, Routes
from scr.server.desk.words import changed, time_line

_NEEDS: Final[dict[str, Any]] = {
    "comment": "editor",
    "supersede": "editor",
    "tests": "editor",
    "revise": "editor",
    "retire": "approver",
}
_SHOWN: Final = 200  # revisions of a history
_BESIDE: Final = 12  # facts on one time line


class FactPages:
    """One fact."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Routes:
        """Yield the pages' routes."""
        yield Route("/facts/{fact_id}", "GET", self.fact)
        yield Route("/facts/{fact_id}/edit", "GET", self.edit)
        yield Route("/facts/{fact_id}/{move}", "POST", self.change)
        yield Route("/undo/{sequence}", "POST", self.undo)

    def fact(self, request: Request, fact_id: str) -> Response:
        """Show everything about a fact, as it is or was."""
        person = self._desk.person(request)
        given = {name: request.query_params.get(name, "") for name in ("valid_at", "as_of")}
        wrong = ""
        try:
            asked = asked_by(given)
        except InvalidInput as error:
            wrong, given = str(error), dict.fromkeys(given, "")
            asked = asked_by(given)
        latest = self._desk.seen(person, fact_id)
        revision = latest
        if asked.as_of is not None:
            try:
                revision = self._desk.seen(person, fact_id, asked.as_of)
            except FactNotFound:
                wrong = "There was no such fact then: this is how it is now."
        history = self._desk.store.history(fact_id)
        rows: list[tuple[Revision, list[tuple[str, str, str]]]] = [(history[0], [])]
        rows += [(after, changed(before.fact, after.fact)) for before, after in pairwise(history)]
        held = None if asked.valid_at is None else revision.fact.validity.covers(asked.valid_at)
        tests = []
        if latest.status == "approved" and (latest.fact.must_fire or latest.fact.must_not_fire):
            tests = self._desk.knowledge.check([fact_id])
        return self._desk.page(
            "fact.html", request, person,
            revision=revision, latest=latest, history=rows[::-1][:_SHOWN], tests=tests,
            used=self._desk.store.usage.of(fact_id), line=self._line(person, revision),
            given=given, wrong=wrong, held=held, here="facts",
            successors=self._successors(person, latest.fact),
        )  # fmt: skip

    def _line(self, person: Person, revision: Revision) -> Any:
        """Return the time line of a fact among the others of its slot."""
        others = [
            each.fact for each in self._desk.catalog.in_slot(revision.fact)
            if each.fact.id != revision.fact.id and each.status != "retired"
            and person.caller.sees(each.fact.scope)
        ]  # fmt: skip
        return time_line([revision.fact, *others[-_BESIDE:]])

    def _successors(self, person: Person, fact: Fact) -> list[Revision]:
        return [
            each for each in self._desk.catalog.in_slot(fact)
            if each.fact.supersedes == fact.id and person.caller.sees(each.fact.scope)
        ]  # fmt: skip

    def edit(self, request: Request, fact_id: str) -> Response:
        """Show what of a fact can be changed."""
        person = self._desk.person(request, "editor")
        revision = self._desk.seen(person, fact_id)
        return self._desk.page(
            "edit.html", request, person, revision=revision, here="facts",
            review=self._desk.store.review,
        )  # fmt: skip

    def change(self, request: Request, fact_id: str, move: str, form: Filled) -> Response:
        """Comment on a fact, revise, supersede or retire it, or change its tests."""
        if move not in _NEEDS:
            raise FactNotFound(f"{fact_id}/{move}")
        person = self._desk.person(request, _NEEDS[move])
        self._desk.seen(person, fact_id)
        store, by, why = self._desk.store, person.name, form.one("why")
        if move == "comment":
            store.comment(fact_id, why, by=by)
        elif move == "retire":
            store.retire(fact_id, by=by, why=why)
        elif move == "tests":
            tests = {name: form.lines(name) for name in ("must_fire", "must_not_fire")}
            store.revise(fact_id, tests, by=by, why=why)
        elif move == "revise":
            store.revise(fact_id, _revised(form), by=by, why=why)
        else:
            return self._supersede(person, fact_id, form)
        return to_fact(fact_id)

    def _supersede(self, person: Person, fact_id: str, form: Form) -> Response:
        given = {"validity": {"start": form.one("start") or None}}
        if sources := form.lines("sources"):
            given["sources"] = sources  # type: ignore[assignment]
        added = self._desk.knowledge.supersede(
            fact_id, form.one("target"), by=person.name, why=form.one("why"), **given
        )
        return to_fact(added.fact.id)

    def undo(self, request: Request, sequence: int, form: Filled) -> Response:
        """Undo a change."""
        person = self._desk.person(request, "approver")
        found = next(iter(self._desk.store.changes(sequence - 1)), None)
        if found is not None:
            self._desk.seen(person, found.fact.id)
        undone = self._desk.store.undo(sequence, by=person.name, why=form.one("why"))
        return to_fact(undone[0].fact.id)


def _revised(form: Form) -> dict[str, Any]:
    """Return what a form changes of a fact: everything but what it says of what."""
    fields = fields_of(form)
    kept = ("statement", "questions", "aliases", "sources", "tags", "validity")
    revised = {name: fields[name] for name in kept}
    return {**revised, "rank": form.one("rank") or "normal", "note": form.one("note")}
