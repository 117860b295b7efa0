import contextlib

import httpx2
import pytest

from scr.chat import ScriptedChatModel
from scr.server import Limits, LocalModel, Upstream, create_app
from scr.server.scripted import ScriptedUpstream
from scr.store import Store

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


@pytest.fixture
def desk(knowledge):
    """The desk of a store without keys."""
    model = ScriptedChatModel(
        answers=lambda m: "Dana Lee." if "Dana Lee" in str(m) else "I do not know."
    )
    with (
        running(create_app(knowledge, LocalModel(model, "fake"))) as url,
        httpx2.Client(base_url=url, follow_redirects=True) as client,
    ):
        yield client


@pytest.fixture
def staffed(tmp_path):
    """A store for review with four eyes, and a signed-in client for each role."""
    Store.create(tmp_path / "x.db", review=True, four_eyes=True).close()
    with open_knowledge(tmp_path / "x.db") as knowledge:
        secrets = {
            role: knowledge.store.keys.create(role, ["default"], by="ana", name=f"the {role}")[1]
            for role in ("reader", "editor", "approver", "admin")
        }
        app = create_app(knowledge, LocalModel(ScriptedChatModel(answers={"": "Hm."}), "fake"))
        with running(app) as url:

            def sign_in(role):
                client = httpx2.Client(base_url=url, follow_redirects=True)
                assert client.post("/ui/sign-in", data={"key": secrets[role]}).status_code == 200
                clients.append(client)
                return client

            clients = []
            yield knowledge, sign_in, url
            for client in clients:
                client.close()
