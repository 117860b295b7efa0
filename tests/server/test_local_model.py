"""A chat model in this process behind the routes."""

import json
import time

import httpx2
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from scr.chat import ScriptedChatModel
from scr.server import LocalModel, create_app

from .running import running
from .test_contract import ABOUT, OTHER, chat, completion, message, post, response, sent


@pytest.fixture
def model():
    return ScriptedChatModel(
        answers=lambda messages: (
            "Dana Lee runs it." if "Dana Lee" in str(messages) else "I do not know."
        )
    )


@pytest.fixture
def local(knowledge, model):
    with running(create_app(knowledge, LocalModel(model, "fake"))) as url:
        yield url


def events(answer):
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_chat(local):
    answer = post(local, "/v1/chat/completions", sent(chat(ABOUT), stream=False))
    assert answer.headers["x-scr-decision"] == "applied"
    whole = answer.json()
    assert whole["choices"][0]["message"]["content"] == "Dana Lee runs it."
    assert whole["scr"]["applies"]
    assert whole["usage"]["completion_tokens"] == 4
    other = post(local, "/v1/chat/completions", sent(chat(OTHER), stream=False))
    assert other.json()["choices"][0]["message"]["content"] == "I do not know."
    assert "scr" not in other.json()


def test_chat_streams(local):
    body = {**chat(ABOUT), "stream_options": {"include_usage": True}}
    chunks = events(post(local, "/v1/chat/completions", sent(body, stream=True)))
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert said == "Dana Lee runs it."
    assert sum(bool(c["choices"] and c["choices"][0]["finish_reason"]) for c in chunks) == 1
    assert chunks[-1]["scr"]["applies"]
    assert chunks[-2]["usage"]["completion_tokens"] == 4
    assert len({c["id"] for c in chunks}) == 1


def test_completions(local):
    answer = post(local, "/v1/completions", sent(completion(ABOUT), stream=False)).json()
    assert answer["choices"][0]["text"] == "Dana Lee runs it."
    chunks = events(post(local, "/v1/completions", sent(completion(OTHER), stream=True)))
    assert "".join(c["choices"][0]["text"] for c in chunks) == "I do not know."


def test_what_a_local_model_does_not_speak_is_501(local):
    for path, body in (("/v1/responses", response), ("/v1/messages", message)):
        answer = post(local, path, sent(body(ABOUT), stream=False))
        assert answer.status_code == 501
        assert "/v1/chat/completions" in answer.json()["error"]["message"]
    assert post(local, "/v1/embeddings", b"{}").status_code == 501
    assert httpx2.get(f"{local}/v1/models").json()["data"][0]["id"] == "fake"


def test_openais_client(local):
    from openai import OpenAI

    with OpenAI(base_url=f"{local}/v1", api_key="none", max_retries=0) as client:
        messages = [{"role": "user", "content": ABOUT}]
        stream = client.chat.completions.create(model="fake", messages=messages, stream=True)
        text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert text == "Dana Lee runs it."


def test_tools_are_called(knowledge):
    call = {"name": "lookup", "args": {"query": "x"}, "id": "c1"}
    chat_model = ScriptedChatModel(answers=lambda _m: AIMessage(content="", tool_calls=[call]))
    tool = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}
    body = {**chat(OTHER), "tools": [tool]}
    with running(create_app(knowledge, LocalModel(chat_model, "fake"))) as url:
        whole = post(url, "/v1/chat/completions", sent(body, stream=False)).json()
        chunks = events(post(url, "/v1/chat/completions", sent(body, stream=True)))
    (called,) = whole["choices"][0]["message"]["tool_calls"]
    assert json.loads(called["function"]["arguments"]) == {"query": "x"}
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
    assert [d["tool_calls"][0]["id"] for d in deltas if "tool_calls" in d] == ["c1"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [{"role": "king", "content": "x"}]},
        {"messages": [{"content": "x"}]},
        {**chat(OTHER), "n": 3},
        {**chat(OTHER), "temperature": "hot"},
        {**chat(OTHER), "max_tokens": 0},
        {**chat(OTHER), "stop": 3},
        {**chat(OTHER), "seed": "x"},
        {**chat(OTHER), "seed": 10**30},
        {**chat(OTHER), "temperature": 10**400},
        {"messages": [{"role": "\ud800", "content": "x"}]},
    ],
)
def test_what_cannot_be_answered_is_an_error_that_says_why(local, model, body, stream):
    model.answers = ["never"] if body.get("messages") != [] else []
    answer = post(local, "/v1/chat/completions", sent(body, stream=stream))
    assert answer.status_code == 422
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "odd",
    [
        {"stream_options": "x"},
        {"temperature": 1e-40},
        {"messages": [{"role": "user", "content": "\ud800 Where?"}]},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_odd_requests_are_answered(local, odd, stream):
    body = sent({**chat(OTHER), **odd}, stream=stream)
    assert post(local, "/v1/chat/completions", body).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_ends_the_models_work(knowledge, stream):
    said = []

    class Slow(ScriptedChatModel):
        def _stream(self, messages, stop=None, run_manager=None, **kwargs):
            for number in range(200):
                time.sleep(0.05)
                said.append(number)
                yield ChatGenerationChunk(message=AIMessageChunk(content="word "))

    model = Slow(answers=[])
    with running(create_app(knowledge, LocalModel(model, "fake"))) as url:
        body = sent(chat(OTHER), stream=stream)
        with pytest.raises(httpx2.TimeoutException):
            httpx2.post(
                f"{url}/v1/chat/completions", content=body, timeout=httpx2.Timeout(5, read=0.01)
            )
        time.sleep(0.3)
        before = len(said)
        time.sleep(0.5)
        assert len(said) <= before + 1
