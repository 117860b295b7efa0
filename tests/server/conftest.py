import contextlib

import pytest

from scr.server import Limits, Upstream, create_app
from scr.server.scripted import ScriptedUpstream

from .running import open_knowledge, running


@pytest.fixture
def upstream():
    return ScriptedUpstream()


@pytest.fixture
def knowledge(tmp_path):
    with open_knowledge(tmp_path / "facts.db") as knowledge:
        knowledge.add(subject="Company X", relation="chief executive officer", target="Dana Lee")
        yield knowledge


@pytest.fixture
def serve(upstream):
    """Return a function that serves knowledge in front of the scripted upstream."""
    with contextlib.ExitStack() as stack:
        behind = stack.enter_context(running(upstream))

        def start(knowledge, *, timeout=10.0, environment=None, url=None, **limits):
            passed = Upstream(url or behind, timeout=timeout, environment=environment or {})
            app = create_app(knowledge, passed, limits=Limits(**limits))
            return stack.enter_context(running(app))

        yield start


@pytest.fixture
def url(serve, knowledge):
    return serve(knowledge)
