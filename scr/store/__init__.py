"""The truth: facts in an append-only history, review, packs in and out, and traces."""

from scr.store.packs import ImportReport
from scr.store.store import Store

__all__ = ["ImportReport", "Store"]
