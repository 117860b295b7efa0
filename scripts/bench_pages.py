"""Time the desk's pages on many facts, as a browser asks for them over loopback.

python scripts/bench_pages.py [FACTS]      (default: 100000)
"""

import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import uvicorn

from scr.chat import ScriptedChatModel
from scr.engine import SCR
from scr.retrieval import HashEmbedder
from scr.server import LocalModel, create_app
from scr.settings import load_settings
from scr.store import Store

RELATIONS = ["chief executive officer", "headquarters", "owner", "founder"]
PAGES = {
    "all facts": "facts",
    "a facet": "facts?relation=owner",
    "three facets": "facts?relation=owner&tag=hr&scope=acme",
    "the last page": "facts?page={last}",
    "a name": "facts?q=company+4711",
    "a word that every fact holds": "facts?q=company",
    "one letter": "facts?q=c",
    "a day in the world": "facts?valid_at=2019-06-01",
    "the store as it was": "facts?as_of={half}",
    "as it was, searched": "facts?as_of={half}&q=owner",
    "a fact, with its history": "facts/f000001",
    "review": "review",
    "conflicts": "conflicts",
    "activity": "activity",
}


def lines(count: int) -> Iterator[str]:
    """Yield the lines of a pack of `count` facts."""
    for number in range(count):
        fact = {
            "id": f"f{number:06}",
            "subject": f"Company {number}",
            "aliases": [f"C{number}"],
            "relation": RELATIONS[number % 4],
            "target": f"Person {number * 7 % 9973}",
            "sources": ["https://example.org"],
            "tags": [["finance", "hr", "legal"][number % 3], f"team {number % 40}"],
            "scope": ["default", "acme", "acme/support"][number // 7 % 3],
        }
        if number % 2:
            fact["validity"] = {"start": "2020-01-01"}
        yield json.dumps(fact)


def main() -> None:
    """Make a store, serve it, and print the median and the slowest of ten for each page."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "facts.db"
        with Store.open(path, create=True) as store:
            store.import_pack(lines(count), name="bench", by="bench")
        settings = load_settings(store=path, user="bench")
        with SCR(Store.open(path), settings, embedder=HashEmbedder()) as knowledge:
            model = LocalModel(ScriptedChatModel(answers={"": "Hm."}), "fake")
            server = uvicorn.Server(
                uvicorn.Config(create_app(knowledge, model), port=0, log_level="error")
            )
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            while not server.started:
                time.sleep(0.1)
            port = server.servers[0].sockets[0].getsockname()[1]
            measure(f"http://127.0.0.1:{port}/ui/", count)
            server.should_exit = True
            thread.join()


def measure(url: str, count: int) -> None:
    """Ask for each page, and print how long it takes."""
    with httpx2.Client(base_url=url, timeout=600) as client:
        begin = time.perf_counter()
        client.get("facts")
        print(f"{count:,} facts; the first page: {time.perf_counter() - begin:.2f} s")
        for name, page in PAGES.items():
            path = page.format(last=-(-count // 50), half=count // 2)
            took = []
            for _ in range(10):
                begin = time.perf_counter()
                answer = client.get(path)
                took.append(1e3 * (time.perf_counter() - begin))
                assert answer.status_code == 200, answer.text  # noqa: S101
            print(f"{name:32} {statistics.median(took):7.1f} ms, slowest {max(took):7.1f} ms")
        for name in ("conflicts/attention", "conflicts/attention"):
            begin = time.perf_counter()
            client.get(name)
            print(f"{name:32} {1e3 * (time.perf_counter() - begin):7.0f} ms (then kept)")


if __name__ == "__main__":
    main()
