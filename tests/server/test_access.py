"""Keys, scopes and limits."""

import time

import httpx2
import pytest

from scr.errors import InvalidInput, KeyForbids, KeyNotFound, KeyRequired
from scr.server import Upstream
from scr.server.access import Doorkeeper
from scr.store import Store

from .running import eventually, open_knowledge
from .test_contract import ABOUT, OTHER, chat, post, sent

PATH = "/v1/chat/completions"


def ask(url, text=ABOUT, **headers):
    return post(url, PATH, sent(chat(text), stream=False), **headers)


@pytest.fixture
def scoped(tmp_path):
    with open_knowledge(tmp_path / "scoped.db", scope="acme/support") as knowledge:
        for scope, target in (("acme/support", "Dana Lee"), ("other", "Bo Chen")):
            knowledge.add(
                subject="Company X", relation="chief executive officer", target=target, scope=scope
            )
        yield knowledge


def test_without_keys_anyone_on_this_machine_may_ask(url):
    assert ask(url).status_code == 200


def test_with_a_key_in_force_everyone_needs_one(serve, knowledge):
    _, secret = knowledge.store.keys.create("reader", ["default"], by="ana")
    url = serve(knowledge)
    refused = ask(url)
    assert refused.status_code == 401
    assert "scr keys create" in refused.json()["error"]["message"]
    assert ask(url, **{"x-scr-key": secret + "x"}).status_code == 401
    for shown in (
        {"x-scr-key": secret},
        {"authorization": f"Bearer {secret}"},
        {"x-api-key": secret},
    ):
        assert ask(url, **shown).headers["x-scr-decision"] == "applied"
    for path in ("/v1/models", "/explain/x"):
        assert httpx2.get(url + path).status_code == 401
    for path in ("/healthz", "/readyz", "/metrics"):
        assert httpx2.get(url + path).status_code == 200


def test_a_revoked_key_is_refused_within_a_second_and_the_last_one_opens_no_door(serve, knowledge):
    key, secret = knowledge.store.keys.create("reader", ["default"], by="ana")
    url = serve(knowledge)
    assert ask(url, **{"x-scr-key": secret}).status_code == 200
    with Store.open(knowledge.store.path) as elsewhere:
        elsewhere.keys.revoke(key.id)
        with pytest.raises(KeyNotFound):
            elsewhere.keys.revoke(key.id)
    eventually(lambda: ask(url, **{"x-scr-key": secret}).status_code == 401, 1.5)
    assert ask(url).status_code == 401


def test_a_key_made_later_is_needed_within_a_second(url, knowledge):
    assert ask(url).status_code == 200
    knowledge.store.keys.create("reader", ["default"], by="ana")
    eventually(lambda: ask(url).status_code == 401, 1.5)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "null"},
    ],
)
def test_without_keys_no_page_of_another_site_may_ask(url, upstream, headers):
    assert ask(url, **headers).status_code == 403
    assert upstream.received == []


@pytest.mark.parametrize("address", ["192.0.2.7", "", "testclient"])
def test_without_keys_no_other_machine_may_ask(knowledge, address):
    door = Doorkeeper(knowledge.store)
    door.refresh()
    assert door.admit({"host": "127.0.0.1:8000"}, "127.0.0.1").scopes is None
    with pytest.raises(KeyForbids):
        door.admit({"host": "127.0.0.1:8000"}, address)


def test_a_scope_that_is_none_is_refused(url):
    assert ask(url, **{"x-scr-scope": "Not A Scope"}).status_code == 422


def test_a_key_sees_facts_of_its_scopes_only(serve, scoped, upstream):
    _, secret = scoped.store.keys.create("reader", ["acme/support"], by="ana")
    _, both = scoped.store.keys.create("reader", ["acme/support", "other"], by="ana")
    url = serve(scoped)
    ask(url, **{"x-scr-key": secret})
    assert b"Dana Lee" in upstream.received[-1].body
    refused = ask(url, **{"x-scr-key": secret, "x-scr-scope": "other"})
    assert refused.status_code == 403
    passed = ask(url, **{"x-scr-key": secret, "x-scr-scope": "acme"})
    assert passed.headers["x-scr-decision"] == "passed"
    told = ask(url, **{"x-scr-key": both, "x-scr-scope": "other"})
    assert b"Bo Chen" in upstream.received[-1].body
    trace = told.headers["x-scr-trace"]
    assert httpx2.get(f"{url}/explain/{trace}", headers={"x-scr-key": both}).status_code == 200
    hidden = httpx2.get(f"{url}/explain/{trace}", headers={"x-scr-key": secret})
    assert hidden.status_code == 404


def test_only_a_hash_of_the_secret_is_kept(knowledge):
    key, secret = knowledge.store.keys.create("admin", ["default"], by="ana", name="ci")
    assert len(secret) > 50
    door = Doorkeeper(knowledge.store)
    door.refresh()
    assert door.admit({"x-scr-key": secret}, "192.0.2.7").name == key.id
    for wrong in (secret[:-1], "scr_", ""):
        with pytest.raises(KeyRequired):
            door.admit({"x-scr-key": wrong}, "192.0.2.7")
    knowledge.store.close()
    held = b"".join(p.read_bytes() for p in knowledge.store.path.parent.iterdir() if p.is_file())
    assert secret.encode() not in held
    assert secret.split("_", 2)[2].encode() not in held  # which may have more underscores


def test_our_key_never_reaches_upstream_and_the_clients_own_does(serve, knowledge, upstream):
    _, secret = knowledge.store.keys.create("reader", ["default"], by="ana")
    url = serve(knowledge, environment={"OPENAI_API_KEY": "sk-theirs"})
    ask(url, OTHER, authorization=f"Bearer {secret}")
    assert upstream.received[-1].headers["authorization"] == "Bearer sk-theirs"
    ask(url, OTHER, **{"x-scr-key": secret, "authorization": "Bearer sk-mine"})
    got = upstream.received[-1].headers
    assert got["authorization"] == "Bearer sk-mine"
    for shown in ("bearer {}", "BEARER {}", "Token {}"):
        ask(url, OTHER, **{"x-scr-key": secret, "authorization": shown.format(secret)})
        assert secret not in str(upstream.received[-1].headers)
    assert ask(url, OTHER, authorization=f"bearer {secret}").status_code == 200
    assert not any(secret in value or name.startswith("x-scr") for name, value in got.items())


def test_anthropics_key_goes_where_anthropic_looks_for_it(serve, knowledge, upstream):
    url = serve(knowledge, environment={"ANTHROPIC_API_KEY": "sk-ant"})
    post(url, "/v1/messages", b"{}")
    assert upstream.received[-1].headers["x-api-key"] == "sk-ant"
    assert "authorization" not in upstream.received[-1].headers


def test_a_request_that_is_too_large_is_refused(serve, knowledge, upstream):
    url = serve(knowledge, max_bytes=300)
    assert ask(url).status_code == 200
    assert post(url, PATH, b" " * 301).status_code == 413

    def parts():
        for _ in range(10):
            yield b" " * 100

    assert httpx2.post(url + PATH, content=parts()).status_code == 413
    assert len(upstream.received) == 1


def test_more_requests_at_one_time_than_allowed_are_refused(serve, knowledge, upstream):
    upstream.pause = 30
    url = serve(knowledge, concurrent=1)
    with httpx2.stream("POST", url + PATH, content=sent(chat(OTHER), stream=True)) as running:
        parts = running.iter_raw()
        next(parts)
        refused = ask(url)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
    upstream.pause = 0
    eventually(lambda: ask(url).status_code == 200)


def test_more_requests_a_minute_than_allowed_are_refused(serve, knowledge):
    url = serve(knowledge, per_minute=3)
    assert [ask(url).status_code for _ in range(4)] == [200, 200, 200, 429]


def test_a_body_that_trickles_in_is_refused(serve, knowledge, upstream):
    url = serve(knowledge, body_seconds=0.3)

    def parts():
        for _ in range(20):
            time.sleep(0.1)
            yield b" "

    assert httpx2.post(url + PATH, content=parts()).status_code == 408
    assert upstream.received == []


def test_a_trace_is_shown_to_whoever_asked_and_to_administrators(serve, knowledge):
    make = knowledge.store.keys.create
    keys = {name: make(name, ["default"], by="ana")[1] for name in ("reader", "editor", "admin")}
    url = serve(knowledge)
    trace = ask(url, **{"x-scr-key": keys["reader"]}).headers["x-scr-trace"]
    seen = {
        name: httpx2.get(f"{url}/explain/{trace}", headers={"x-scr-key": key}).status_code
        for name, key in keys.items()
    }
    assert seen == {"reader": 200, "editor": 404, "admin": 200}


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("ftp://x", {}),
        ("not a url", {}),
        ("http://user:secret@x", {}),
        ("http://x", {"OPENAI_API_KEY": "sk-\u00e9"}),
    ],
)
def test_an_upstream_that_cannot_be_used_is_refused_without_its_secrets(url, environment):
    with pytest.raises(InvalidInput) as refused:
        Upstream(url, timeout=1, environment=environment)
    assert "sk-" not in str(refused.value)
