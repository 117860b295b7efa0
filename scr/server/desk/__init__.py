"""The knowledge team's desk: pages to find, propose, review and try facts. No JavaScript."""

from scr.server.desk.routes import add_desk

__all__ = ["add_desk"]
