"""The truth: facts in an append-only history, review, packs in and out, and traces."""

from scr.store.packs import ImportReport
from scr.store.plans import Change, Plan, Source
from scr.store.store import Store

__all__ = ["Change", "ImportReport", "Plan", "Source", "Store"]
