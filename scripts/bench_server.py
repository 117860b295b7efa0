"""What the server adds to a request, and what it carries: ratios of one run, as JSON.

    python scripts/bench_server.py [--facts 5000] [--out PATH]

A scripted upstream, the server and a bare httpx2 pass-through each have a process of their own;
clients are in this one. Queries are LabWorld's, about subjects in and out of the store, each asked
once. Measured are: the time that the server adds to one request, beside one `decide`; the delay of
a stream's first byte; 64 clients before an upstream that takes 300 ms, beside the pass-through; the
rate at saturation, beside `decide_many` at the batch size reached; 200 streams at one time.
"""

import argparse
import asyncio
import json
import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from scr.engine import SCR
from scr.lab.claims import as_claim
from scr.lab.world import generate_world, pack_lines
from scr.server import Upstream, create_app
from scr.server.scripted import ScriptedUpstream
from scr.store import Store

PATH = "/v1/chat/completions"
CLIENTS, SLOW, STREAMS = 64, 0.3, 200


def serve_upstream(port: Any, delay: float, pause: float) -> None:
    """Run the scripted upstream."""
    _run(ScriptedUpstream(lambda _b: "one two three four five", delay=delay, pause=pause), port)


def serve_proxy(port: Any, store: str, upstream: str) -> None:
    """Run the server."""
    import torch

    torch.set_num_threads(1)
    with SCR.open(store, decision_timeout=60) as knowledge:
        _run(create_app(knowledge, Upstream(upstream, timeout=60, environment={})), port)


def serve_bare(port: Any, upstream: str) -> None:
    """Run a pass-through of a few lines: what any proxy of this kind costs."""
    client = httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=None))

    async def passed(request: Any) -> StreamingResponse:
        content = await request.body()
        sent = httpx2.Request("POST", upstream + PATH, content=content)
        answer = await client.send(sent, stream=True)
        return StreamingResponse(answer.aiter_raw(), answer.status_code)

    _run(Starlette(routes=[Route(PATH, passed, methods=["POST"])]), port)


def _run(app: Any, port: Any) -> None:
    class Announcing(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            port.value = self.servers[0].sockets[0].getsockname()[1]

    Announcing(uvicorn.Config(app, port=0, log_level="error")).run()


@contextmanager
def started(target: Callable[..., None], *arguments: Any) -> Any:
    """Run a server in a process; gives its URL."""
    port = multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=target, args=(port, *arguments), daemon=True)
    process.start()
    while not port.value:
        if not process.is_alive():
            sys.exit("a server did not start")
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port.value}"
    process.terminate()
    process.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--facts", type=int, default=5_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    world = generate_world(0, 2 * arguments.facts)
    known = list(pack_lines(world))[: arguments.facts]
    rng = Random(0)
    queries = [as_claim(fact).question(rng, "test") for fact in world.current_facts]
    queries = list(dict.fromkeys(queries))
    rng.shuffle(queries)
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        path = f"{place}/facts.db"
        with Store.open(path, create=True) as store:
            store.import_pack(known, name="LabWorld", by="bench")
        figures = {"facts": len(known), **measure_decisions(path, queries)}
        quick = stack.enter_context(started(serve_upstream, 0.0, 0.0))
        slow = stack.enter_context(started(serve_upstream, SLOW, 0.0))
        lengthy = stack.enter_context(started(serve_upstream, 0.05, 0.2))
        proxied = {
            url: stack.enter_context(started(serve_proxy, path, url))
            for url in (quick, slow, lengthy)
        }
        bare = stack.enter_context(started(serve_bare, slow))
        take = iter(queries[3_000:]).__next__
        figures |= asyncio.run(one_by_one(quick, proxied[quick], take))
        figures |= asyncio.run(at_once(bare, proxied[slow], take))
        figures |= asyncio.run(saturated(proxied[quick], take))
        figures |= asyncio.run(streams(proxied[lengthy], take))
    figures["added to one decide, ms"] = round(
        figures["added by the server, median ms"] - figures["decide, median ms"], 2
    )
    size = figures["mean batch at saturation"]
    rates = {int(k.split()[-1]): v for k, v in figures.items() if k.startswith("decide_many by")}
    near = min(rates, key=lambda batch: abs(batch - size))
    figures["saturation to decide_many"] = round(figures["saturated, a second"] / rates[near], 3)
    text = json.dumps(figures, indent=1) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def measure_decisions(path: str, queries: list[str]) -> dict[str, float]:
    """Return what deciding itself takes, alone and in batches."""
    import torch

    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    with SCR.open(path, decision_timeout=60) as knowledge:
        knowledge.decide("Is everything loaded?")
        times = []
        for query in queries[:300]:
            start = time.perf_counter()
            knowledge.decide(query)
            times.append(time.perf_counter() - start)
        figures["decide, median ms"] = round(median(times) * 1e3, 2)
        for batch in (1, 8, 32):
            asked = queries[400 : 400 + 20 * batch]
            start = time.perf_counter()
            for at in range(0, len(asked), batch):
                knowledge.decide_many(asked[at : at + batch])
            rate = len(asked) / (time.perf_counter() - start)
            figures[f"decide_many by {batch}"] = round(rate, 1)
    return figures


def _body(query: str, *, stream: bool = False) -> bytes:
    return json.dumps({"stream": stream, "messages": [{"role": "user", "content": query}]}).encode()


async def one_by_one(direct: str, proxied: str, take: Callable[[], str]) -> dict[str, float]:
    """Return what the server adds to a request, and to a stream's first byte."""
    spent: dict[str, list[float]] = {"direct": [], "proxied": []}
    first: dict[str, list[float]] = {"direct": [], "proxied": []}
    async with httpx2.AsyncClient(timeout=60) as client:
        for number in range(310):
            body = _body(take())
            for name, url in (("direct", direct), ("proxied", proxied)):
                start = time.perf_counter()
                await client.post(url + PATH, content=body)
                if number >= 10:
                    spent[name].append(time.perf_counter() - start)
        for _ in range(100):
            body = _body(take(), stream=True)
            for name, url in (("direct", direct), ("proxied", proxied)):
                start = time.perf_counter()
                async with client.stream("POST", url + PATH, content=body) as answer:
                    await anext(answer.aiter_raw())
                    first[name].append(time.perf_counter() - start)
    added = median(spent["proxied"]) - median(spent["direct"])
    later = median(first["proxied"]) - median(first["direct"])
    return {
        "added by the server, median ms": round(added * 1e3, 2),
        "added to a stream's first byte, median ms": round(later * 1e3, 2),
    }


async def _load(url: str, take: Callable[[], str], seconds: float) -> float:
    """Return the requests a second of all clients together."""
    done = 0
    end = time.perf_counter() + seconds
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(timeout=60, limits=limits) as client:

        async def one() -> None:
            nonlocal done
            while time.perf_counter() < end:
                answer = await client.post(url + PATH, content=_body(take()))
                answer.raise_for_status()
                done += 1

        start = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(CLIENTS)))
        return done / (time.perf_counter() - start)


async def at_once(bare: str, proxied: str, take: Callable[[], str]) -> dict[str, float]:
    """Return the throughput of many clients before a slow upstream, beside a bare proxy's."""
    rates: dict[str, list[float]] = {"bare": [], "proxied": []}
    for _ in range(2):
        rates["bare"].append(await _load(bare, take, 6))
        rates["proxied"].append(await _load(proxied, take, 6))
    ratio = max(rates["proxied"]) / max(rates["bare"])
    return {
        "64 clients, bare, a second": round(max(rates["bare"]), 1),
        "64 clients, a second": round(max(rates["proxied"]), 1),
        "64 clients, to bare": round(ratio, 3),
    }


async def saturated(proxied: str, take: Callable[[], str]) -> dict[str, float]:
    """Return the rate before an upstream that takes no time, and the batches decided on."""

    async def batches() -> tuple[float, float]:
        async with httpx2.AsyncClient() as client:
            text = (await client.get(f"{proxied}/metrics")).text
        found = [re.search(rf"^scr_batch_size_{n} (\S+)", text, re.M) for n in ("sum", "count")]
        total, count = (float(match[1]) if match else 0.0 for match in found)
        return total, count

    before = await batches()
    rate = await _load(proxied, take, 8)
    total, count = (b - a for a, b in zip(before, await batches(), strict=True))
    return {
        "saturated, a second": round(rate, 1),
        "mean batch at saturation": round(total / max(count, 1), 1),
    }


async def streams(proxied: str, take: Callable[[], str]) -> dict[str, float]:
    """Return whether many streams at one time all come whole."""

    async def one(client: httpx2.AsyncClient) -> bool:
        body = _body(take(), stream=True)
        async with client.stream("POST", proxied + PATH, content=body) as answer:
            said = b"".join([part async for part in answer.aiter_raw()])
        return said.endswith(b"data: [DONE]\n\n")

    async def round_of(count: int) -> float:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(timeout=60, limits=limits) as client:
            whole: Awaitable[list[bool]] = asyncio.gather(*(one(client) for _ in range(count)))
            return sum(await whole) / count

    await round_of(STREAMS)
    before = _resident(proxied)
    shares = [await round_of(STREAMS) for _ in range(5)]
    return {
        "200 streams, whole": min(shares),
        "memory after 1000 more streams, MB": round((_resident(proxied) - before) / 2**20, 1),
    }


def _resident(url: str) -> int:
    """Return the resident memory of the process that listens at a URL (Linux)."""
    port = int(url.rpartition(":")[2])
    wanted = f":{port:04X}"
    inodes = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(wanted) and line.split()[3] == "0A"
    }
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = {link.readlink().name for link in (process / "fd").iterdir()}
        except OSError:
            continue
        if any(f"socket:[{inode}]" in links for inode in inodes):
            pages = int((process / "statm").read_text().split()[1])
            return pages * 4096
    return 0


if __name__ == "__main__":
    main()
