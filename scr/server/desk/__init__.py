"""The knowledge team's desk: pages to find, propose, review and try facts.

Everything can be read without JavaScript; htmx, from this server, makes search answer while one
types and answers appear while they are made.
"""

from typing import TYPE_CHECKING

from scr.server.desk.activity import ActivityPages
from scr.server.desk.conflicts import ConflictPages
from scr.server.desk.desk import Desk
from scr.server.desk.entrance import EntrancePages
from scr.server.desk.fact import FactPages
from scr.server.desk.facts import FactsPages
from scr.server.desk.importing import ImportPages
from scr.server.desk.playground import PlaygroundPages
from scr.server.desk.review import ReviewPages
from scr.server.desk.staff import StaffPages

if TYPE_CHECKING:
    from fastapi import FastAPI

    from scr.server.gateway import Gateway

__all__ = ["Desk", "add_desk"]


def add_desk(app: "FastAPI", gateway: "Gateway") -> None:
    """Add the desk's pages to the server."""
    desk = Desk(gateway)
    for pages in (
        EntrancePages, FactsPages, FactPages, ReviewPages, ConflictPages, ImportPages,
        PlaygroundPages, ActivityPages, StaffPages,
    ):  # fmt: skip
        desk.serve(pages(desk).routes())
    app.state.desk = desk
    app.include_router(desk.router, include_in_schema=False)
