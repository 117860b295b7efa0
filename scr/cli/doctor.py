"""`scr doctor`: is everything here that SCR needs, and what to do where it is not."""

import platform
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from rich.table import Table
from rich.text import Text

import scr
from scr.cli.options import AsJson, StorePath
from scr.cli.render import make_console, print_json, visible
from scr.errors import ModelUnavailable, ScrError, StoreMissing
from scr.settings import Settings, load_settings

if TYPE_CHECKING:
    from scr.records import Embedder

app = typer.Typer()
PACKAGES = (
    "torch", "transformers", "sentence-transformers", "faiss-cpu", "langchain-core",
    "sqlalchemy", "pydantic",
)  # fmt: skip
ENOUGH_DISK, SCARCE_DISK = 1_000_000_000, 50_000_000  # bytes free
Level = Literal["ok", "warn", "fail"]
STYLE: dict[Level, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    level: Level
    found: str
    advice: str = ""


@app.command()
def doctor(store: StorePath = None, as_json: AsJson = False) -> None:
    """Check that everything SCR needs is here.

    The exit code is 1 if something failed.
    """
    failed = False
    console = make_console()
    for check in run_checks(load_settings(store=store)):
        failed |= check.level == "fail"
        if as_json:
            print_json(asdict(check))
            continue
        console.print(_row(check))
    if failed:
        raise typer.Exit(1)


def _row(check: Check) -> Table:
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=4, no_wrap=True)
    row.add_column(overflow="fold")
    advice = f"\n→ {check.advice}" if check.advice else ""
    text = visible(f"{check.name}: {check.found}{advice}", lines=True)
    row.add_row(Text(check.level, STYLE[check.level]), Text(text))
    return row


def run_checks(settings: Settings) -> Iterator[Check]:
    """Yield each check as it is done, the quick ones first."""
    yield check_python()
    yield from check_packages()
    yield check_full_text()
    yield check_disk(settings.store)
    yield (store := check_store(settings.store))
    yield check_detector(settings)
    embedder, check = check_embedder(settings.embedder)
    yield check
    if embedder is not None and store.level == "ok":
        yield check_index(settings.store, embedder)
    yield check_lab()


def check_python() -> Check:
    """The interpreter, and SCR's own version."""
    return Check("scr", "ok", f"{scr.__version__} on Python {platform.python_version()}")


def check_packages() -> Iterator[Check]:
    """The packages that the answers depend on, by version; nothing is imported."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            advice = f"{sys.executable} -m pip install {package}"
            yield Check("package", "fail", f"{package} is missing", advice)
    yield Check("packages", "ok", ", ".join(found))


def check_full_text() -> Check:
    """SQLite has the full-text search that `scr search` uses."""
    found = f"SQLite {sqlite3.sqlite_version}"
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE words USING fts5(word)")
        except sqlite3.OperationalError:
            advice = "use a Python whose SQLite was built with FTS5"
            return Check("full text", "fail", f"{found} has no FTS5", advice)
    return Check("full text", "ok", f"{found} with FTS5")


def check_disk(store: Path) -> Check:
    """There is room to write where the store is."""
    folder = store.absolute().parent
    if not folder.is_dir():
        return Check("disk", "fail", f"there is no folder {folder}", "make it, or name another")
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free in {folder}"
    if free < ENOUGH_DISK:
        level: Level = "fail" if free < SCARCE_DISK else "warn"
        return Check("disk", level, found, "make room: a full disk refuses every change")
    return Check("disk", "ok", found)


def check_store(path: Path) -> Check:
    """The store opens, and how much is in it."""
    from scr.store import Store

    try:
        with Store.open(path) as store:
            count = Counter(revision.status for revision in store.list(status=None))
            sequence = store.sequence
    except StoreMissing:
        return Check("store", "warn", f"none at {path}", f"scr --store {path} init")
    except ScrError as error:
        return Check("store", "fail", str(error))
    kinds = ", ".join(f"{number} {status}" for status, number in sorted(count.items()))
    return Check("store", "ok", f"{path}: {kinds or 'no facts yet'}, at change {sequence}")


def check_detector(settings: Settings) -> Check:
    """The shipped detector loads."""
    from scr.detection import Recalibration, load_detector

    try:
        load_detector(
            threshold=settings.threshold,
            max_facts=settings.max_facts,
            reader=settings.reader,
            recalibration=Recalibration.load(settings.calibration)
            if settings.calibration
            else None,
            max_false_fire_rate=settings.max_false_fire_rate,
        )
    except ScrError as error:
        return Check("detector", "fail", str(error))
    return Check("detector", "ok", "loads")


def check_embedder(name: str) -> "tuple[Embedder | None, Check]":
    """The embedding model is here, with the hash it should have."""
    from scr.retrieval import load_embedder

    try:
        embedder = load_embedder(name)
    except ModelUnavailable as error:
        return None, Check("embedder", "fail", str(error))
    return embedder, Check("embedder", "ok", f"{name}, SHA-256 {embedder.fingerprint[:16]}…")


def check_index(path: Path, embedder: "Embedder") -> Check:
    """The snapshot of the index is current; it is brought up to date by itself otherwise."""
    from scr.retrieval import Retriever
    from scr.store import Store

    snapshot = path.with_name(path.name + ".index")
    if not snapshot.exists():
        return Check("index", "ok", "none yet; the first question makes it")
    with Store.open(path) as store:
        sequence = store.sequence
    known = Retriever(embedder, snapshot=snapshot).sequence
    if known == sequence:
        return Check("index", "ok", f"{snapshot} is current, at change {sequence}")
    found = f"{snapshot} stands at change {known} of {sequence}"
    return Check("index", "warn", found, "the next question brings it up to date")


def check_lab() -> Check:
    """The lab model that is part of the package loads."""
    from scr.chat import load_chat_model

    try:
        load_chat_model("lab")
    except ModelUnavailable as error:
        return Check("lab model", "fail", str(error))
    return Check("lab model", "ok", "loads")
