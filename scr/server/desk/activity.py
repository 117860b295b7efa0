"""The latest changes and requests."""

from typing import Final

from fastapi.responses import Response
from starlette.requests import Request

from scr.server.desk.desk import Desk
from scr.server.desk.routing import Route, Routes

_LATEST: Final = 40  # changes and requests that are shown


class ActivityPages:
    """What happened."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Routes:
        """Yield the page's route."""
        yield Route("/activity", "GET", self.activity)

    def activity(self, request: Request, before: int = 0) -> Response:
        """Show changes, the latest or those before one, and the latest requests."""
        person = self._desk.person(request)
        store = self._desk.store
        last = min(before - 1, store.sequence) if before > 0 else store.sequence
        since = max(last - _LATEST, 0)
        changes = [
            change for change, _ in zip(store.changes(since), range(last - since), strict=False)
            if person.caller.sees(change.fact.scope)
        ]  # fmt: skip
        traces = [trace for trace in store.traces(_LATEST) if person.caller.explains(trace)]
        return self._desk.page(
            "activity.html", request, person, changes=changes[::-1], traces=traces,
            earlier=since + 1 if since else 0, latest=before <= 0,
        )  # fmt: skip
