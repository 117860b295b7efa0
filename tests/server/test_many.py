"""Many at one time, and the end of a server."""

import asyncio
import json
import threading

import httpx2

from scr.server import Upstream, create_app
from scr.server.scripted import ScriptedUpstream

from .running import running
from .test_contract import OTHER, chat, sent

STREAMS = 40
PATH = "/v1/chat/completions"


def test_streams_at_one_time_are_neither_lost_nor_mixed_up(knowledge):
    upstream = ScriptedUpstream(
        lambda body: " ".join([body["messages"][-1]["content"]] * 5), delay=0.05, pause=0.01
    )

    async def one(client, url, number):
        text = f"question {number}" if number % 2 else f"Who runs Company X, question {number}?"
        body = sent(chat(text), stream=True)
        said = ""
        async with client.stream("POST", url + PATH, content=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    choices = json.loads(line.removeprefix("data: "))["choices"]
                    said += choices[0]["delta"].get("content", "") if choices else ""
            assert answer.headers["x-scr-decision"] == ("passed" if number % 2 else "applied")
        return said == " ".join([text] * 5)

    async def everyone(url):
        async with httpx2.AsyncClient(timeout=60) as client:
            return await asyncio.gather(*(one(client, url, n) for n in range(STREAMS)))

    with (
        running(upstream) as behind,
        running(create_app(knowledge, Upstream(behind, timeout=30, environment={}))) as url,
    ):
        assert all(asyncio.run(everyone(url)))
    assert len(upstream.received) == STREAMS


def test_a_server_that_is_stopped_finishes_its_streams(knowledge):
    upstream = ScriptedUpstream(lambda _body: "one two three", pause=0.2)
    read = []
    begun = threading.Event()

    def stream(url):
        body = sent(chat(OTHER), stream=True)
        with httpx2.stream("POST", url + PATH, content=body) as answer:
            for part in answer.iter_raw():
                read.append(part)
                begun.set()

    with running(upstream) as behind:
        with running(create_app(knowledge, Upstream(behind, timeout=30, environment={}))) as url:
            reader = threading.Thread(target=stream, args=(url,))
            reader.start()
            assert begun.wait(10)
        reader.join(10)
    assert b"".join(read).endswith(b"data: [DONE]\n\n")


def test_any_worker_explains_what_another_decided(knowledge, serve):
    one, other = serve(knowledge), serve(knowledge)
    answer = httpx2.post(one + PATH, content=sent(chat(OTHER), stream=False))
    assert httpx2.get(f"{other}/explain/{answer.headers['x-scr-trace']}").status_code == 200
