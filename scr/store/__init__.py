"""The truth: facts in an append-only history, review, packs in and out, and traces."""

from scr.store.csv_packs import read_csv
from scr.store.formats import Line, Pack, PackFormat, collect, read_pack, read_yaml
from scr.store.packs import ImportReport
from scr.store.people import Account, Filter
from scr.store.plans import Change, Declaration, Plan, Source
from scr.store.queues import QUEUES, Task, distinct, tasks
from scr.store.relations import Relation, Relations, read_relations, write_relations
from scr.store.selection import Facet, Order, Page
from scr.store.store import Store
from scr.store.usage import Used
from scr.store.worklist import Worklist

__all__ = [
    "QUEUES",
    "Account",
    "Change",
    "Declaration",
    "Facet",
    "Filter",
    "ImportReport",
    "Line",
    "Order",
    "Pack",
    "PackFormat",
    "Page",
    "Plan",
    "Relation",
    "Relations",
    "Source",
    "Store",
    "Task",
    "Used",
    "Worklist",
    "collect",
    "distinct",
    "read_csv",
    "read_pack",
    "read_relations",
    "read_yaml",
    "tasks",
    "write_relations",
]
