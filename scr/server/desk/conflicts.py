"""Proposals against approved facts, and what else wants somebody's attention."""

from datetime import UTC, datetime
from typing import Final, NamedTuple

from fastapi.responses import RedirectResponse, Response
from starlette.requests import Request

from scr.errors import InvalidInput
from scr.facts import Revision, new_id
from scr.server.desk.desk import Desk, to_fact
from scr.server.desk.forms import Filled
from scr.server.desk.people import Person
from scr.server.desk.routing import Route, Routes
from scr.server.desk.words import side_by_side
from scr.store import Relations, Task, Worklist
from scr.store.catalog import Asked

_LOOKED_AT: Final = 500  # proposals, the latest first
_SHOWN: Final = 25  # tasks of a queue
_TITLES: Final = {
    "duplicates": "Ask the same",
    "unsourced": "Without a source",
    "expiring": "End soon",
    "ambiguous": "One name, several subjects",
    "one_sided": "Said from one side only",
    "untested": "Proposed without tests",
}


class Conflict(NamedTuple):
    """A proposal against an approved fact."""

    proposal: Revision
    rival: Revision
    rows: list[tuple[str, str, str, bool]]
    """Their fields beside each other."""


class ConflictPages:
    """Where facts stand against each other."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._worklist = Worklist(desk.store, [*_TITLES])

    def routes(self) -> Routes:
        """Yield the pages' routes."""
        yield Route("/conflicts", "GET", self.conflicts)
        yield Route("/conflicts/attention", "GET", self.attention)
        yield Route("/conflicts/{fact_id}/replace", "POST", self.replace)
        yield Route("/conflicts/{fact_id}/succeed", "POST", self.succeed)

    def conflicts(self, request: Request) -> Response:
        """Show each proposal beside the approved fact that it contradicts."""
        person = self._desk.person(request)
        return self._desk.page(
            "conflicts.html", request, person, conflicts=[*self._conflicts(person)]
        )

    def _conflicts(self, person: Person) -> list[Conflict]:
        waiting = self._desk.catalog.page(
            Asked(chosen={"status": "proposed"}), person.caller.sees, limit=_LOOKED_AT, facets=()
        )
        contradict = self._relations().contradict
        found = []
        for proposal in waiting.found:
            fact = proposal.fact
            for rival in self._desk.catalog.in_slot(fact):
                known = rival.fact.id in (fact.id, fact.supersedes)
                if rival.status == "approved" and not known and contradict(fact, rival.fact):
                    rows = side_by_side(rival.fact, fact)
                    found.append(Conflict(proposal, rival, rows))
        return found

    def replace(self, request: Request, fact_id: str, form: Filled) -> Response:
        """Retire the approved fact, and approve the proposal."""
        person = self._desk.person(request, "approver")
        rival, why = form.one("rival"), form.one("why")
        self._desk.seen(person, fact_id), self._desk.seen(person, rival)
        if not why:
            raise InvalidInput("say why the approved fact was wrong: it leaves with this reason")
        self._desk.store.replace(fact_id, rival, by=person.name, why=why)
        return to_fact(fact_id)

    def _relations(self) -> Relations:
        """Return what is declared of relations now."""
        return Relations(self._desk.store.declared)

    def succeed(self, request: Request, fact_id: str, form: Filled) -> Response:
        """Propose the same again as what follows the approved fact, from a day on."""
        person = self._desk.person(request, "editor")
        proposal = self._desk.seen(person, fact_id)
        rival = self._desk.seen(person, form.one("rival"))
        if proposal.by != person.name:
            person.require("approver")
        given = proposal.fact.model_dump(exclude={"id", "supersedes", "validity"})
        start = form.one("start") or proposal.fact.validity.start
        validity = {"start": start, "end": proposal.fact.validity.end}
        added = self._desk.knowledge.add(
            by=person.name, why=form.one("why") or f"follows {rival.fact.id}", id=new_id(),
            supersedes=rival.fact.id, validity=validity, **given,
        )  # fmt: skip
        self._desk.store.retire(
            fact_id, by=person.name, why=f"proposed again as {added.fact.id}, which follows"
        )
        return RedirectResponse(f"/ui/review/{added.fact.id}", 303)

    # What else wants attention

    def attention(self, request: Request, queue: str = "") -> Response:
        """Show the queues of facts that somebody should look at."""
        person = self._desk.person(request)
        queues: dict[str, list[Task]] = {name: [] for name in _TITLES}
        for task in self._worklist.tasks(datetime.now(UTC)):
            if person.caller.sees(task.scope):
                queues[task.queue].append(task)
        shown = queue if queue in queues else next((n for n, own in queues.items() if own), "")
        return self._desk.page(
            "attention.html", request, person, here="conflicts",
            queues=[(name, _TITLES[name], len(own)) for name, own in queues.items()],
            shown=shown, title=_TITLES.get(shown, ""), tasks=queues.get(shown, [])[:_SHOWN * 4],
        )  # fmt: skip
