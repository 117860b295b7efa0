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
from playwright.sync_api import sync_playwright

from scr.chat import load_chat_model
from scr.engine import SCR
from scr.server import LocalModel, create_app
from scr.store import Store

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
SHOTS = {
    "facts": ("/ui/facts", 1280),
    "fact": ("/ui/facts/northwind-head", 1280),
    "proposal": ("/ui/review/northwind-head-2026", 1280),
    "review": ("/ui/review", 1280),
    "playground": ("/ui/playground?q=Who+runs+Northwind+Labs+these+days%3F", 1280),
    "phone": ("/ui/facts", 390),
}


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
    """Write a picture of each page."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=ARGUMENTS
        )
        for scheme in ("light", "dark"):
            for name, (path, width) in SHOTS.items():
                page = chromium.new_page(
                    viewport={"width": width, "height": 800}, color_scheme=scheme, base_url=url
                )
                page.goto(path)
                suffix = "" if scheme == "light" else "-dark"
                page.screenshot(path=folder / f"{name}{suffix}.png", full_page=True)
                page.close()
        chromium.close()


if __name__ == "__main__":
    main()
