"""Servers on loopback, in threads of the test's process."""

import contextlib
import html
import re
import threading
import time

import uvicorn

from scr.engine import SCR
from scr.records import Decision, Evidence, Match
from scr.retrieval import HashEmbedder
from scr.settings import load_settings
from scr.store import Store


class MentionDetector:
    """Fires every fact whose subject the query names exactly."""

    def __call__(self, query, candidates):
        matches = tuple(
            Match(
                fact=candidate.fact,
                probability=0.9,
                evidence=Evidence(mention=candidate.mention, key=candidate.key),
            )
            for candidate in candidates
            if candidate.mention and candidate.mention.similarity == 1
        )
        return Decision(
            applies=bool(matches),
            matches=matches,
            probability=0.9 if matches else 0.1,
            reason=f"asked: {query.text}",
            threshold=0.5,
            detector="mention-1",
        )


def open_knowledge(path, detector=None, **chosen):
    return SCR(
        Store.open(path, create=True),
        load_settings(store=path, user="ana", **chosen),
        embedder=HashEmbedder(),
        detector=detector or MentionDetector(),
    )


@contextlib.contextmanager
def running(app, **options):
    """Serve an application; gives its base URL."""
    config = uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=5, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def eventually(condition, seconds=5.0):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def text_of(answer):
    """Return what a page says, without its markup."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))
