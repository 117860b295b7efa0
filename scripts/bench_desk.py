"""How long the desk waits for its store of 100 000 facts: each call's median, worst and CPU time.

    python scripts/bench_desk.py --facts 100000 --store /tmp/desk.db

The store is made if it is missing (a minute or two) and kept for the next run.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from scr.facts import make_fact
from scr.store import Plan, Source, Store, Worklist

ROUNDS = 7
LIMIT_MS = 200.0
START = datetime(2020, 1, 1, tzinfo=UTC)
RELATIONS = ("chief executive officer", "capital", "headquarters", "founder", "member", "anthem")
NAMES = ("Northwind", "Contoso", "Fabrikam", "Tailspin", "Wingtip", "Litware", "Adatum", "Fourth")


def pack(size: int, changed: int = 0) -> Iterator[str]:
    """Yield a pack of facts; `changed` of them, spread over it, with a note more."""
    every = size // changed if changed else size + 1
    for number in range(size):
        fact = make_fact(
            id=f"fact-{number:07}",
            subject=f"{NAMES[number % 8]} {number // 6}",
            aliases=[f"{NAMES[number % 8][:3].upper()}-{number // 6}"],
            relation=RELATIONS[number % 6],
            target=f"Value {number * 7919 % size}",
            sources=[f"https://example.org/{number}"] if number % 50 else [],
            tags=[("geography", "people", "finance", "law")[number % 4]],
            scope=("default", "acme", "acme/support")[number % 3],
            validity={"start": START + timedelta(days=number % 2000)},
            note="Looked at again." if number % every == every - 1 else "",
        )
        yield fact.model_dump_json(exclude_defaults=True)


def fill(path: Path, size: int) -> Store:
    """Open the store, made and filled if it is missing."""
    if path.exists():
        return Store.open(path)
    store = Store.create(path)
    content = "".join(f"{line}\n" for line in pack(size)).encode()
    store.apply([Source("made", content)], by="bench")
    for number in range(0, size, 100):
        store.revise(f"fact-{number:07}", {"note": "Revised."}, by="bench")
        store.revise(f"fact-{number:07}", {"note": ""}, by="bench")
    return store


def measure(name: str, call: Callable[[], object], rounds: int = ROUNDS) -> dict[str, object]:
    """Return the times of a call, in milliseconds."""
    taken, busy = [], []
    for _ in range(rounds):
        start, worked = time.perf_counter(), time.process_time()
        call()
        taken.append((time.perf_counter() - start) * 1e3)
        busy.append((time.process_time() - worked) * 1e3)
    times = {"median_ms": median(taken), "worst_ms": max(taken), "cpu_ms": median(busy)}
    row = {"call": name, **{key: round(value, 1) for key, value in times.items()}}
    print(f"{name:32}", *(f"{value:9.1f}" for value in times.values()), flush=True)
    return row


def plan(store: Store, content: bytes) -> Plan:
    """Plan what the content of a file would change."""
    return store.plan([Source("made", content)], by="bench")


def after_change(store: Store, worklist: Worklist) -> Callable[[], object]:
    """Return a call that asks what wants attention, and before it makes a change."""
    notes = count()

    def ask() -> object:
        store.revise("fact-0000100", {"note": f"Seen {next(notes)} times."}, by="bench")
        return len(worklist.tasks(datetime.now(UTC)))

    return ask


def calls(store: Store, size: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what a desk asks of its store."""
    page = store.page
    yield "list, first page", lambda: page(status=None)
    yield "list, page 1000", lambda: page(status=None, offset=50_000)
    yield "list, approved, by subject", lambda: page(order="subject")
    yield "list, newest first", lambda: page(status=None, order="newest")
    yield "filter, status proposed (none)", lambda: page(status="proposed")
    yield "filter, kind and scope", lambda: page(kind="fact", scope=["acme/support"])
    yield "filter, tag and relation", lambda: page(tag="law", relation="capital")
    yield "filter, valid_at", lambda: page(valid_at=START + timedelta(days=700))
    yield "list, as_of", lambda: page(as_of=size // 2)
    yield "counts of kinds", lambda: store.counts("kind", status=None)
    yield "counts of tags", lambda: store.counts("tag", status=None)
    yield "counts of relations", lambda: store.counts("relation", status=None)
    yield "search, one fact", lambda: page(text="northwind 16000")
    yield "search, a sixth of all", lambda: page(text="capital")
    yield "search, all facts", lambda: page(text="value")
    yield "search and filter", lambda: page(text="contoso", tag="law", scope=["acme"])
    yield "a fact and its history", lambda: store.history("fact-0000100")
    yield "latest changes", lambda: store.latest_changes(50)


def main() -> None:
    """Measure, print and, if asked to, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=100_000)
    parser.add_argument("--store", type=Path, default=Path("/tmp/desk.db"))  # noqa: S108
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    start = time.perf_counter()
    with fill(given.store, given.facts) as store:
        print(f"open: {time.perf_counter() - start:.1f} s, {store.sequence} revisions")
        content = "".join(f"{line}\n" for line in pack(given.facts)).encode()
        start = time.perf_counter()
        applied = store.apply([Source("made", content)], by="bench")
        print(f"apply: {time.perf_counter() - start:.1f} s, {applied}")
        rows = [measure(name, call) for name, call in calls(store, given.facts)]
        worklist = Worklist(store)
        rows.append(measure("what wants attention, at first", after_change(store, worklist), 1))
        rows.append(measure("a change, and what wants attention", after_change(store, worklist)))
        for name, changed in (("plan, no changes", 0), ("plan, 10 changes", 10)):
            content = "".join(f"{line}\n" for line in pack(given.facts, changed)).encode()
            rows.append(measure(name, partial(plan, store, content)))
            print(plan(store, content))
    slow = [row["call"] for row in rows if float(str(row["median_ms"])) > LIMIT_MS]
    print(f"over {LIMIT_MS:.0f} ms: {', '.join(map(str, slow)) or 'none'}")
    if given.out:
        given.out.write_text(json.dumps({"facts": given.facts, "calls": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
