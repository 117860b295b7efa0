"""The truth: facts in an append-only history, review, packs in and out, and traces."""

from scr.store.packs import ImportReport
from scr.store.plans import Change, Plan, Source
from scr.store.queues import QUEUES, Task, tasks
from scr.store.selection import Facet, Order, Page
from scr.store.store import Store
from scr.store.usage import Used

__all__ = [
    "QUEUES", "Change", "Facet", "ImportReport", "Order", "Page", "Plan", "Source", "Store", "Task",
    "Used", "tasks",
]  # fmt: skip
