"""Processes that are killed, and processes that write at once."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scr.store import Store

pytestmark = pytest.mark.system  # kills processes; `make test-system` runs it

KILLS = 60


class Writers:
    """Speaks with `writer.py`."""

    def __init__(self, process):
        self._process = process
        self._said = []

    def start(self, command, path, count):
        """Start writers and return the process id of the first."""
        self._said = []
        self._process.stdin.write(f"{command}\t{path}\t{count}\n")
        self._process.stdin.flush()
        return int(self.wait_for("pid ").split()[1])

    def wait_for(self, beginning):
        """Read on until a line begins so, and return it."""
        for line in self._process.stdout:
            self._said.append(line.strip())
            if line.startswith(beginning):
                return line
        raise AssertionError("the process that starts the writers died")

    def finish(self):
        """Wait until all writers are gone; return what they said."""
        self.wait_for("dead")
        return self._said


@pytest.fixture(scope="module")
def writers():
    script = Path(__file__).with_name("writer.py")
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield Writers(process)
    process.stdin.close()
    process.wait(timeout=60)
    process.stdout.close()


def acknowledged(said):
    assert [line for line in said if line.startswith("failed")] == []
    return [line.split()[1] for line in said if line.startswith("id ")]


def kill_at_some_moment(writers, path, longest, rng, *, at_work=False):
    pid = writers.start("write", path, 1)
    if at_work:
        writers.wait_for("id ")
    time.sleep(rng.uniform(0, longest))
    os.kill(pid, signal.SIGKILL)
    return acknowledged(writers.finish())


def check(store, known):
    """Every acknowledged fact is there, and no succession happened by halves."""
    facts = {r.fact.id: r.fact for r in store.list()}
    assert known <= facts.keys()
    for fact in facts.values():
        successor = facts.get(f"{fact.id}-2")
        assert (fact.validity.end is not None) == (successor is not None)
    changes = list(store.changes(0))
    assert [r.sequence for r in changes] == list(range(1, len(changes) + 1))


def test_killed_processes_lose_no_acknowledged_fact(templates, tmp_path, writers):
    rng = random.Random(20)
    path = tmp_path / "facts.db"
    shutil.copy(templates / "plain.db", path)
    known = set()
    for number in range(KILLS):
        new = kill_at_some_moment(writers, path, 0.04, rng, at_work=number % 6 > 0)
        known.update(new)
        with Store.open(path) as store:
            for fact_id in new:
                assert store.get(fact_id).status == "approved"
    with Store.open(path) as store:
        check(store, known)
        assert len(known) >= KILLS * 5 / 6


def test_a_store_is_made_whole_or_not_at_all(tmp_path, writers):
    rng = random.Random(21)
    for number in range(12):
        path = tmp_path / f"{number}.db"
        known = set(kill_at_some_moment(writers, path, 0.3, rng))
        with Store.open(path, create=True) as store:
            check(store, known)


def test_four_processes_write_at_once(templates, tmp_path, writers):
    path = tmp_path / "facts.db"
    shutil.copy(templates / "plain.db", path)
    writers.start("race", path, 4)
    said = writers.finish()
    with Store.open(path) as store:
        known = acknowledged(said)
        assert len(known) == 100
        assert {r.fact.id for r in store.list()} > set(known)
        assert store.sequence == 101
    assert sorted(line for line in said if line in ("won", "lost")) == ["lost"] * 3 + ["won"]


def test_four_processes_make_one_store(tmp_path, writers):
    path = tmp_path / "facts.db"
    writers.start("race", path, 4)
    known = acknowledged(writers.finish())
    with Store.open(path) as store:
        assert store.sequence == len(known) + 1 == 101
    assert list(tmp_path.iterdir()) == [path]
