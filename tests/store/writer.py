"""Forks processes that write to a store: one slow import, many writers.

Reads commands from standard input, one a line; answers on standard output with lines short enough
that the system writes each of them whole:

    write PATH 1     fork a writer that adds facts until it is killed; says `pid N`, then `id ID`
                     for each acknowledged fact, then `dead` when it is gone
    race PATH N      fork N writers that add 25 facts each and claim one common slot; says `id ID`
                     for each fact, `won`, `lost` or `failed …`, and `dead` when all are gone
"""

import os
import sys
from itertools import count

import alembic.command  # so that the forked processes need not import it

from scr.errors import FactConflict
from scr.facts import make_fact
from scr.store import Store

assert alembic.command


def say(text):
    os.write(1, f"{text}\n".encode()[:400])


def write(path):
    with Store.open(path, create=True) as store:
        for number in count():
            first = make_fact(subject=f"{os.getpid()} {number}", relation="state", target="old")
            store.add(first, by="writer")
            say(f"id {first.id}")
            second = first.model_copy(
                update={"id": f"{first.id}-2", "target": "new", "supersedes": first.id}
            )
            store.add(second, by="writer")
            say(f"id {second.id}")


def race(path):
    with Store.open(path, create=True) as store:
        for number in range(25):
            fact = make_fact(subject=f"{os.getpid()} {number}", relation="state", target="x")
            store.add(fact, by="writer")
            say(f"id {fact.id}")
        try:
            store.add(make_fact(subject="all", relation="owner", target="x"), by="writer")
            say("won")
        except FactConflict:
            say("lost")


def fork(work, path):
    pid = os.fork()
    if pid == 0:
        try:
            work(path)
        except BaseException as error:
            say(f"failed {error!r}")
        finally:
            os._exit(0)
    return pid


def main():
    for line in sys.stdin:
        command, path, *rest = line.split("\t")
        pids = [fork(race if command == "race" else write, path) for _ in range(int(rest[0]))]
        say(f"pid {pids[0]}")
        for pid in pids:
            os.waitpid(pid, 0)
        say("dead")


if __name__ == "__main__":
    main()
