"""What holds on every route, streamed and not."""

import gzip
import json

import httpx2
import pytest

from scr.composition.rendering import INSTRUCTION

from .running import eventually, running

ABOUT = "Who is the chief executive officer of Company X?"
OTHER = "Where is the nearest bakery?"


def chat(text):
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


def completion(text):
    return {"model": "m", "prompt": text}


def response(text):
    content = [{"type": "input_text", "text": text}]
    return {"model": "m", "input": [{"role": "user", "content": content}]}


def message(text):
    content = [{"type": "text", "text": text}]
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}


TOOLS = {
    "/v1/chat/completions": {
        **chat(ABOUT),
        "messages": [
            *chat(ABOUT)["messages"],
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": "Company X is fine."},
        ],
    },
    "/v1/responses": {
        "model": "m",
        "input": [
            *response(ABOUT)["input"],
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "Company X is fine."},
        ],
    },
    "/v1/messages": {
        **message(ABOUT),
        "messages": [
            *message(ABOUT)["messages"],
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c", "content": "Company X is fine."},
                    {"type": "text", "text": ABOUT},
                ],
            },
        ],
    },
}
ROUTES = {
    "/v1/chat/completions": chat,
    "/v1/completions": completion,
    "/v1/responses": response,
    "/v1/messages": message,
}
EVERY = pytest.mark.parametrize("path", ROUTES)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def sent(body, *, stream):
    # Odd spacing on purpose: bytes must survive, not only their meaning.
    return json.dumps({**body, **({"stream": True} if stream else {})}, indent=1).encode() + b"\n"


def post(url, path, content, **headers):
    return httpx2.post(
        url + path, content=content, headers={"content-type": "application/json", **headers}
    )


@EVERY
@BOTH
def test_nothing_applies_and_nothing_changes(url, upstream, path, stream):
    body = sent(ROUTES[path](OTHER), stream=stream)
    answer = post(url, f"{path}?api-version=3", body)
    (got,) = upstream.received
    assert (got.body, got.path, got.query) == (body, path, "api-version=3")
    assert answer.content == upstream.sent[0]
    assert answer.headers["x-scr-decision"] == "passed"
    assert answer.headers["x-scr-facts"] == ""
    assert answer.headers["x-scr-revision"] == "1"
    assert answer.headers["x-upstream"] == "scripted"


@EVERY
@BOTH
def test_a_fact_that_applies_reaches_upstream_and_the_client_is_told(
    url, upstream, knowledge, path, stream
):
    answer = post(url, path, sent(ROUTES[path](ABOUT), stream=stream))
    (fact,) = knowledge.store.list()
    (got,) = upstream.received
    text = got.body.decode()
    assert "Dana Lee" in text
    assert text.count(INSTRUCTION.split(".")[0]) == 1
    asked = json.loads(text)
    assert {k: v for k, v in asked.items() if k in ("model", "stream", "max_tokens")} == {
        k: v for k, v in json.loads(sent(ROUTES[path](ABOUT), stream=stream)).items()
        if k in ("model", "stream", "max_tokens")
    }  # fmt: skip
    assert answer.headers["x-scr-decision"] == "applied"
    assert answer.headers["x-scr-facts"] == fact.fact.id
    explained = httpx2.get(f"{url}/explain/{answer.headers['x-scr-trace']}").json()
    assert explained["injected"] == [fact.fact.id]
    told = "completions" in path
    if stream:
        assert (b'"scr":' in answer.content) == told
        end = b"data: [DONE]\n\n"
        if told:
            before, chunk = answer.content.removesuffix(end).rstrip().rsplit(b"\n\n", 1)
            assert before + b"\n\n" + end == upstream.sent[0]
            extra = json.loads(chunk.removeprefix(b"data: "))
            assert (extra["choices"], extra["id"]) == ([], "scripted-1")
            assert extra["scr"]["facts"][0]["id"] == fact.fact.id
        else:
            assert answer.content == upstream.sent[0]
    elif told:
        whole = answer.json()
        assert whole.pop("scr")["injected_tokens"] == int(answer.headers["x-scr-injected-tokens"])
        assert whole == json.loads(upstream.sent[0])
    else:
        assert answer.content == upstream.sent[0]


@pytest.mark.parametrize("path", TOOLS)
@BOTH
def test_nothing_comes_between_a_tool_call_and_its_result(url, upstream, path, stream):
    body = sent(TOOLS[path], stream=stream)
    answer = post(url, path, body)
    assert upstream.received[0].body == body
    assert answer.content == upstream.sent[0]
    assert answer.headers["x-scr-decision"] == "unasked"


@EVERY
@BOTH
@pytest.mark.parametrize("text", [ABOUT, OTHER])
def test_an_error_of_upstream_is_passed_on(url, upstream, path, stream, text):
    upstream.failure = (418, b'{"error": {"message": "I am a teapot"}}')
    answer = post(url, path, sent(ROUTES[path](text), stream=stream))
    assert (answer.status_code, answer.content) == upstream.failure
    assert answer.headers["x-scr-decision"] in ("applied", "passed")


@EVERY
@BOTH
@pytest.mark.parametrize("text", [ABOUT, OTHER])
def test_a_client_that_hangs_up_ends_upstreams_work(url, upstream, path, stream, text):
    upstream.delay, upstream.pause = (0.0, 30.0) if stream else (30.0, 0.0)
    with pytest.raises(httpx2.TimeoutException):
        httpx2.post(url + path, content=sent(ROUTES[path](text), stream=stream), timeout=0.5)
    eventually(lambda: upstream.hung_up == 1)


@EVERY
def test_upstream_that_does_not_answer_is_a_502_in_the_clients_shape(serve, knowledge, path):
    url = serve(knowledge, url="http://127.0.0.1:9")
    answer = post(url, path, sent(ROUTES[path](OTHER), stream=False))
    assert answer.status_code == 502
    error = answer.json()["error"]
    assert "is 127.0.0.1 up" in error["message"]
    assert (answer.json().get("type") == "error") == (path == "/v1/messages")
    assert answer.headers["x-scr-decision"] == "passed"


@EVERY
def test_upstream_that_takes_too_long_is_a_504(serve, knowledge, upstream, path):
    upstream.delay = 30
    url = serve(knowledge, timeout=0.2)
    assert post(url, path, sent(ROUTES[path](OTHER), stream=False)).status_code == 504


@EVERY
@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[1]", b'{"messages": 3}', b"\xff\xfe", b'{"messages": [3]}']
)
def test_a_body_that_says_nothing_readable_is_upstreams_business(url, upstream, path, body):
    answer = post(url, path, body)
    assert upstream.received[0].body == body
    assert answer.headers["x-scr-decision"] == "unasked"


def test_parts_of_a_stream_come_as_upstream_sends_them(url, upstream):
    upstream.pause = 0.3
    body = sent(chat(ABOUT), stream=True)
    with httpx2.stream("POST", f"{url}/v1/chat/completions", content=body) as answer:
        first = next(answer.iter_raw())
    assert first.startswith(b"data: ")
    assert b"[DONE]" not in first
    assert len(upstream.sent[0]) < 2 * len(first)


@pytest.mark.parametrize("text", [ABOUT, OTHER])
@BOTH
def test_compressed_answers_pass_as_they_come(serve, knowledge, text, stream):
    squeezed = gzip.compress(b'{"choices": []}')
    kind = b"text/event-stream" if stream else b"application/json"

    async def compressing(scope, receive, send):
        headers = [(b"content-type", kind), (b"content-encoding", b"gzip"), (b"etag", b"x")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": squeezed})

    with running(compressing, lifespan="off") as behind:
        url = serve(knowledge, url=behind)
        body = sent(chat(text), stream=stream)
        with httpx2.stream("POST", f"{url}/v1/chat/completions", content=body) as answer:
            assert b"".join(answer.iter_raw()) == squeezed
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.headers["etag"] == "x"


@pytest.mark.parametrize("text", [ABOUT, OTHER])
def test_odd_headers_and_queries_pass_as_they_come(url, upstream, text):
    headers = [(b"x-title", "café".encode()), (b"x-twice", b"1"), (b"x-twice", b"2")]
    headers += [(b"connection", b"X-Once"), (b"x-once", b"1")]
    answer = httpx2.post(
        httpx2.URL(url).copy_with(raw_path=b"/v1/chat/completions?q=%22a%22&b=c+d"),
        content=sent(chat(text), stream=False),
        headers=headers,
    )
    assert answer.status_code == 200
    (got,) = upstream.received
    assert got.query == "q=%22a%22&b=c+d"
    assert got.headers["x-title"].encode("latin-1") == "café".encode()
    assert "x-once" not in got.headers


def test_odd_text_reaches_upstream_as_it_was_meant(url, upstream):
    body = json.dumps({**chat(ABOUT), "note": "\ud800 \u00e9", "big": 2**70}).encode()
    assert post(url, "/v1/chat/completions", body).headers["x-scr-decision"] == "applied"
    asked = json.loads(upstream.received[0].body)
    assert (asked["note"], asked["big"]) == ("\ud800 \u00e9", 2**70)


@pytest.mark.parametrize("broken", ["start", "middle"])
def test_an_upstream_that_breaks_off_is_a_502_or_a_broken_answer(serve, knowledge, broken):
    async def breaking(scope, receive, send):
        headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise OSError("the upstream broke")

    with running(breaking, lifespan="off") as behind:
        url = serve(knowledge, url=behind)
        text = ABOUT if broken == "start" else OTHER  # what is annotated is read whole first
        body = sent(chat(text), stream=False)
        if broken == "start":
            assert post(url, "/v1/chat/completions", body).status_code == 502
        else:
            with pytest.raises(httpx2.RemoteProtocolError):
                post(url, "/v1/chat/completions", body)


def test_a_conversation_too_long_to_decide_on_passes_and_says_so(url, upstream):
    answer = post(url, "/v1/chat/completions", sent(chat("x" * 1_000_001), stream=False))
    assert answer.headers["x-scr-decision"] == "unasked"
    assert "too long" in answer.headers["x-scr-warning"]


@pytest.mark.parametrize(
    "last",
    [
        {"type": "item_reference", "id": "rs_1"},
        {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True},
        {"type": "reasoning", "summary": []},
    ],
)
def test_what_is_not_the_users_words_asks_nothing(url, upstream, last):
    body = {**response(ABOUT), "input": [*response(ABOUT)["input"], last]}
    answer = post(url, "/v1/responses", sent(body, stream=False))
    assert answer.headers["x-scr-decision"] == "unasked"
