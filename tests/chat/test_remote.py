import json

import httpx2
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from scr.chat import OpenAICompatibleChatModel, load_chat_model
from scr.errors import UpstreamError

URL = "http://model.test/v1"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CALL = {"name": "lookup", "args": {"name": "X"}, "id": "c1", "type": "tool_call"}


@tool
def lookup(name: str) -> str:
    """Look a name up."""
    return name


class Server:
    """Answers every request with one response and remembers the requests."""

    def __init__(self, status=200, body=None, text=None):
        self.requests = []
        self.status = status
        self.text = json.dumps(body) if text is None else text

    def __call__(self, request):
        self.requests.append(request)
        return httpx2.Response(self.status, text=self.text)

    def chat(self, **fields):
        return OpenAICompatibleChatModel(
            base_url=URL, model="m1", transport=httpx2.MockTransport(self), **fields
        )

    @property
    def sent(self):
        return json.loads(self.requests[-1].content)


def completion(message, finish="stop"):
    return {
        "model": "m1-2026",
        "choices": [{"message": {"role": "assistant", **message}, "finish_reason": finish}],
        "usage": USAGE,
    }


def events(*chunks, end="data: [DONE]\n\n"):
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + end


def delta(finish=None, **fields):
    return {"model": "m1-2026", "choices": [{"delta": fields, "finish_reason": finish}]}


def whole(chunks):
    first, *rest = chunks
    for chunk in rest:
        first += chunk
    return first


def test_an_answer_with_its_usage():
    server = Server(body=completion({"content": "Hello."}))
    answer = server.chat(api_key="k1", temperature=0.5).invoke("Hi", stop=["."], seed=3)
    assert answer.content == "Hello."
    assert answer.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == "m1-2026"
    assert str(server.requests[0].url) == f"{URL}/chat/completions"
    assert server.requests[0].headers["authorization"] == "Bearer k1"
    assert server.sent == {
        "model": "m1",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "stop": ["."],
        "seed": 3,
    }


def test_without_a_key_none_is_sent():
    server = Server(body=completion({"content": "Hello."}))
    server.chat().invoke("Hi")
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("text", ["\ud800", "\u2028\u202e", "🙂", "x" * 1_000_000])
def test_any_text_can_be_sent(text):
    server = Server(body=completion({"content": "Hello."}))
    server.chat().invoke(text)
    assert server.sent["messages"][0]["content"] == text


async def test_it_answers_on_an_event_loop():
    server = Server(body=completion({"content": "Hello."}))
    assert (await server.chat().ainvoke("Hi")).content == "Hello."


def test_tools_go_out_and_their_calls_come_back():
    function = {"name": "lookup", "arguments": '{"name": "X"}'}
    message = {
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    server = Server(body=completion(message, "tool_calls"))
    answer = server.chat().bind_tools([lookup], tool_choice="any").invoke("Hi")
    assert answer.tool_calls == [CALL]
    assert server.sent["tool_choice"] == "required"
    assert server.sent["tools"][0]["function"]["name"] == "lookup"
    server.chat().invoke([HumanMessage("Hi"), answer, ToolMessage("r", tool_call_id="c1")])
    assert [m["role"] for m in server.sent["messages"]] == ["user", "assistant", "tool"]
    assert server.sent["messages"][1]["tool_calls"][0]["id"] == "c1"


def test_a_tool_can_be_demanded_by_name():
    server = Server(body=completion({"content": "Hello."}))
    server.chat().bind_tools([lookup], tool_choice="lookup").invoke("Hi")
    assert server.sent["tool_choice"] == {"type": "function", "function": {"name": "lookup"}}


def test_arguments_that_are_no_json_are_kept_as_invalid():
    function = {"name": "lookup", "arguments": "{"}
    message = {"tool_calls": [{"id": "c1", "type": "function", "function": function}]}
    answer = Server(body=completion(message)).chat().invoke("Hi")
    assert answer.tool_calls == []
    assert answer.invalid_tool_calls[0]["args"] == "{"


def test_a_stream_joins_to_the_answer():
    server = Server(
        text=events(
            delta(role="assistant", content=""),
            delta(content="Hel"),
            delta(content="lo."),
            delta("stop"),
            {"model": "m1-2026", "choices": None, "usage": USAGE},
            end=": ping\n\ndata: [DONE]\n\n",
        )
    )
    answer = whole(server.chat().stream("Hi"))
    assert answer.content == "Hello."
    assert answer.response_metadata["model_name"] == "m1-2026"
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["total_tokens"] == 5
    assert server.sent["stream"] is True
    assert server.sent["stream_options"] == {"include_usage": True}


def test_streamed_tool_calls_are_put_together():
    def part(**fields):
        return delta(tool_calls=[{"index": 0, **fields}])

    server = Server(
        text=events(
            part(id="c1", function={"name": "lookup", "arguments": ""}),
            part(function={"arguments": '{"name":'}),
            part(function={"arguments": ' "X"}'}),
            delta("tool_calls"),
        )
    )
    assert whole(server.chat().stream("Hi")).tool_calls == [CALL]


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (401, '{"error": {"message": "bad key", "type": "auth"}}', "HTTP 401: bad key"),
        (429, '{"error": "slow down"}', "HTTP 429: slow down"),
        (502, "<html>gateway</html>", "HTTP 502: <html>gateway"),
        (500, "", "HTTP 500: no reason given"),
        (200, "<html>login</html>", "not OpenAI's format: '<html>login"),
        (200, '{"choices": []}', "not OpenAI's format"),
        (200, "[1]", "not OpenAI's format"),
        (200, '{"error": {"message": "model is gone"}}', "model is gone"),
    ],
    ids=["key", "limit", "gateway", "empty", "html", "no choice", "list", "error in a success"],
)
def test_failures_give_the_servers_reason(status, text, reason):
    with pytest.raises(UpstreamError, match=reason) as caught:
        Server(status, text=text).chat().invoke("Hi")
    assert caught.value.model == "m1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (events(delta(content="Hel"), end=""), "broke off"),
        (events(delta(content="Hel"), {"error": {"message": "out of memory"}}), "out of memory"),
        ("data: {\n\n", "not OpenAI's format"),
        ("", "broke off"),
    ],
    ids=["cut", "error", "garbage", "nothing"],
)
def test_a_broken_stream_is_an_error(text, reason):
    with pytest.raises(UpstreamError, match=reason):
        list(Server(text=text).chat().stream("Hi"))


@pytest.mark.parametrize("error", [httpx2.ConnectError, httpx2.ReadTimeout])
def test_a_server_that_does_not_answer_is_named(error):
    def refuse(request):
        raise error("gone", request=request)

    chat = OpenAICompatibleChatModel(
        base_url=URL, model="m1", transport=httpx2.MockTransport(refuse)
    )
    with pytest.raises(UpstreamError, match=f"{URL} does not answer"):
        chat.invoke("Hi")


@pytest.mark.parametrize(
    ("given", "base", "model"),
    [
        ("http://model.test", "http://model.test/v1", "first"),
        ("http://model.test/", "http://model.test/v1", "first"),
        ("https://model.test/api/v3/", "https://model.test/api/v3", "first"),
        ("http://model.test/v1#org/name", "http://model.test/v1", "org/name"),
    ],
)
def test_a_url_names_a_server_and_maybe_a_model(given, base, model, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k2")
    server = Server(body={"data": [{"id": "first"}, {"id": "second"}]})
    chat = load_chat_model(given, transport=httpx2.MockTransport(server))
    assert (chat.base_url, chat.model) == (base, model)
    assert chat.api_key.get_secret_value() == "k2"
    assert [str(request.url) for request in server.requests] == (
        [f"{base}/models"] if model == "first" else []
    )


def test_a_server_without_models_is_refused():
    with pytest.raises(UpstreamError, match="not OpenAI's format"):
        load_chat_model(
            "http://model.test", transport=httpx2.MockTransport(Server(body={"data": []}))
        )


def test_the_key_is_never_shown():
    assert "k1" not in repr(Server().chat(api_key="k1"))
    assert isinstance(
        Server(body=completion({"content": "a"})).chat(api_key="k1").invoke("Hi"), AIMessage
    )
