"""Style sheet and scripts of the pages, each under a name that changes with its content."""

import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Final

from starlette.responses import Response

from scr.server.desk.routing import Route, Routes

_KINDS: Final = {"css": "text/css", "js": "text/javascript"}
_NAMES: Final = ("desk.css", "htmx.min.js", "htmx-sse.min.js")
_FOLDER: Final = files("scr.server.desk").joinpath("static")
_FOR_EVER: Final = {"cache-control": "public, max-age=31536000, immutable"}

CONTENTS: Final[Mapping[str, bytes]] = {
    name: _FOLDER.joinpath(name).read_bytes() for name in _NAMES
}
ADDRESSES: Final[Mapping[str, str]] = {
    name: f"/ui/static/{name}?{hashlib.sha256(content).hexdigest()[:16]}"
    for name, content in CONTENTS.items()
}


def routes() -> Routes:
    """Yield a route for each file."""
    for name in _NAMES:
        yield Route(f"/static/{name}", "GET", _serving(name))


def _serving(name: str) -> Callable[[], Response]:
    def serve() -> Response:
        kind = _KINDS[name.rpartition(".")[2]]
        return Response(CONTENTS[name], media_type=kind, headers=_FOR_EVER)

    return serve
