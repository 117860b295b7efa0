"""Take the pictures of `docs/knowledge-team.md`: the desk at work, in Debian's Chromium.

python scripts/screenshots.py [FOLDER]      (default: docs/desk)
"""

import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import Page, sync_playwright

from scr.chat import load_chat_model
from scr.engine import SCR
from scr.server import LocalModel, create_app
from scr.store import Store

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
PASSWORD = "only for pictures"  # noqa: S105 - of a store that is gone when they are taken
SHOTS = {
    "facts": ("/ui/facts", 1280),
    "fact": ("/ui/facts/northwind-head", 1280),
    "proposal": ("/ui/review/northwind-head-2026", 1280),
    "review": ("/ui/review", 1280),
    "conflicts": ("/ui/conflicts", 1280),
    "import": ("/ui/import", 1280),
    "playground": ("/ui/playground?q=Who+runs+Northwind+Labs+these+days%3F", 1280),
    "people": ("/ui/keys", 1280),
    "phone": ("/ui/facts", 390),
}
DARK = ("facts", "playground")  # of these there is a picture in dark too
PACK = """\
{"id": "refunds", "kind": "text", "subject": "Refund Policy", "sources": ["intranet"], \
"statement": "Customers get a refund within 14 days of the delivery. Opened software is exchanged, \
not refunded."}
{"subject": "Northwind Labs", "relation": "founder", "target": "Ann Berg", \
"sources": ["https://northwind.example/history"]}
"""


def fill(store: Store) -> None:
    """Put a small company's facts into a store for review."""
    about = {"subject": "Northwind Labs", "aliases": ["Northwind", "NWL"]}
    head = {**about, "relation": "chief executive officer"}
    source = ["https://northwind.example/board"]
    facts: list[dict[str, Any]] = [
        {"id": "northwind-head", **head, "target": "Dana Lee", "sources": source,
         "validity": {"start": "2023-04-01"}, "must_fire": ["Who runs Northwind these days?"],
         "must_not_fire": ["Who founded Northwind Labs?"]},
        {"id": "northwind-seat", **about, "relation": "headquarters", "target": "Oslo",
         "sources": source},
        {"id": "refunds", "kind": "text", "subject": "Refund Policy", "sources": ["intranet"],
         "statement": "Customers get a refund within 30 days of the delivery. Opened software is "
                      "exchanged, not refunded."},
    ]  # fmt: skip
    from scr.facts import make_fact

    for fields in facts:
        store.add(make_fact(**fields), by="Eve", why="first import")
        store.approve(fields["id"], by="Abe")
    store.comment("northwind-head", "The board's page says so since March.", by="Abe")
    new = {"id": "northwind-head-2026", **head, "target": "Kim Roe", "supersedes": "northwind-head"}
    store.add(
        make_fact(**new, sources=source, validity={"start": "2026-11-01"}),
        by="Eve",
        why="board meeting of 20 October",
    )
    store.add(make_fact(id="hours", statement="The help desk is open from 8 to 18."), by="Eve")
    moved = {"id": "northwind-seat-bergen", **about, "relation": "headquarters", "target": "Bergen"}
    store.add(make_fact(**moved, sources=["a letterhead"]), by="Eve", why="read it on a letter")
    for name, role in (("Eve", "editor"), ("Abe", "admin"), ("Rae", "reader")):
        store.keys.people.add(name, PASSWORD, role, ["default"], by="Abe")
    store.keys.people.keep_filter("person abe", "Northwind, in use", "q=northwind&status=approved")


def main() -> None:
    """Serve a store, and take the pictures."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/desk")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "facts.db"
        Store.create(path, review=True, four_eyes=True).close()
        with SCR.open(path, user="Abe") as knowledge:
            fill(knowledge.store)
            app = create_app(knowledge, LocalModel(load_chat_model("lab", max_tokens=16), "lab"))
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            while not server.started:
                time.sleep(0.1)
            take(f"http://127.0.0.1:{port}", folder)
            server.should_exit = True
            thread.join()


def take(url: str, folder: Path) -> None:
    """Write a picture of each page, as Abe sees it."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=ARGUMENTS
        )
        for scheme in ("light", "dark"):
            context = chromium.new_context(base_url=url, color_scheme=scheme)  # type: ignore[arg-type]
            page = context.new_page()
            page.goto("/ui/sign-in")
            page.get_by_label("Name").fill("Abe")
            page.get_by_label("Password").fill(PASSWORD)
            if scheme == "light":
                page.set_viewport_size({"width": 760, "height": 520})
                page.screenshot(path=folder / "sign-in.png")
            page.get_by_role("button", name="Sign in", exact=True).click()
            for name, (path, width) in SHOTS.items():
                if scheme == "light" or name in DARK:
                    page.set_viewport_size({"width": width, "height": 720})
                    show(page, name, path)
                    suffix = "" if scheme == "light" else "-dark"
                    page.screenshot(path=folder / f"{name}{suffix}.png", full_page=True)
            context.close()
        chromium.close()


def show(page: Page, name: str, path: str) -> None:
    """Go to a page, and wait until it is as it is meant to be seen."""
    page.goto(path)
    if name == "import":
        page.get_by_label("Or pasted here").fill(PACK)
        page.get_by_role("button", name="Show what it would change").last.click()
    elif name == "playground":
        page.wait_for_timeout(15_000)  # both answers
        page.evaluate("document.activeElement.blur()")
    elif name == "conflicts":
        page.locator("#attention .tabs").wait_for()


if __name__ == "__main__":
    main()
