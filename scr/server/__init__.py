"""The server: a proxy in front of any model, which puts facts into the requests they apply to."""

from scr.server.app import create_app
from scr.server.gateway import Limits
from scr.server.local import LocalModel
from scr.server.upstream import Upstream

__all__ = ["Limits", "LocalModel", "Upstream", "create_app"]
