"""The vendors' own clients against a server in front of a scripted upstream."""

import asyncio
import json

import pytest

from .test_contract import ABOUT, OTHER

TOOL = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Looks something up.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
}
IMAGE = "data:image/png;base64,iVBORw0KGgo="


def user(text):
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(url):
    from openai import OpenAI

    with OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0) as client:
        yield client


@pytest.fixture
def asked(upstream):
    """Return a function that gives the body of the last request."""
    return lambda: json.loads(upstream.received[-1].body)


def test_openai(client, asked):
    answer = client.chat.completions.create(model="m", messages=user(ABOUT))
    assert answer.choices[0].message.content == "Hello from upstream."
    assert answer.usage.prompt_tokens == 7
    assert answer.scr["facts"][0]["probability"] == 0.9
    assert "Dana Lee" in asked()["messages"][0]["content"]
    other = client.chat.completions.with_raw_response.create(model="m", messages=user(OTHER))
    assert other.headers["x-scr-decision"] == "passed"
    assert not hasattr(other.parse(), "scr")


def test_openai_streams(client):
    options = {"include_usage": True}
    stream = client.chat.completions.create(
        model="m", messages=user(ABOUT), stream=True, stream_options=options
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == (
        "Hello from upstream."
    )
    assert chunks[-1].scr["applies"] is True
    assert chunks[-2].usage.total_tokens == 10


def test_openai_with_tools(client, asked):
    answer = client.chat.completions.create(model="m", messages=user(ABOUT), tools=[TOOL])
    (call,) = answer.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"query": "Company X"}
    assert asked()["tools"] == [TOOL]
    said = answer.choices[0].message.model_dump(exclude_none=True)
    result = {"role": "tool", "tool_call_id": call.id, "content": "It is fine."}
    client.chat.completions.create(model="m", messages=[*user(ABOUT), said, result], tools=[TOOL])
    assert "Dana Lee" not in json.dumps(asked())
    stream = client.chat.completions.create(
        model="m", messages=user(ABOUT), tools=[TOOL], stream=True
    )
    calls = [c.choices[0].delta.tool_calls for c in stream if c.choices]
    assert calls[0][0].function.name == "lookup"


def test_openai_with_structured_output(client, upstream, asked):
    upstream.says = lambda body: '{"name": "Dana Lee"}' if "response_format" in body else "?"
    answer = client.chat.completions.create(model="m", messages=user(ABOUT), response_format=SCHEMA)
    assert json.loads(answer.choices[0].message.content) == {"name": "Dana Lee"}
    assert asked()["response_format"] == SCHEMA


def test_openai_with_an_image_among_the_parts(client, asked):
    image = {"type": "image_url", "image_url": {"url": IMAGE}}
    parts = [{"type": "text", "text": ABOUT}, image]
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": parts}])
    system, last = asked()["messages"]
    assert "Dana Lee" in system["content"]
    assert last["content"] == parts


def test_openai_completions_responses_models_and_embeddings(client, asked):
    answer = client.completions.create(model="m", prompt=ABOUT)
    assert answer.choices[0].text == "Hello from upstream."
    assert asked()["prompt"].endswith(ABOUT)
    streamed = client.completions.create(model="m", prompt=ABOUT, stream=True)
    assert "".join(c.choices[0].text for c in streamed if c.choices) == "Hello from upstream."
    assert client.responses.create(model="m", input=ABOUT).output_text == "Hello from upstream."
    assert "Dana Lee" in asked()["instructions"]
    events = list(client.responses.create(model="m", input=ABOUT, stream=True))
    assert events[-1].response.output_text == "Hello from upstream."
    assert [model.id for model in client.models.list()] == ["scripted"]
    assert client.embeddings.create(model="m", input="x").data[0].embedding


def test_openai_asynchronously(url):
    from openai import AsyncOpenAI

    async def ask():
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0) as client:
            answer, stream = await asyncio.gather(
                client.chat.completions.create(model="m", messages=user(ABOUT)),
                client.chat.completions.create(model="m", messages=user(ABOUT), stream=True),
            )
            return answer, [chunk async for chunk in stream]

    answer, chunks = asyncio.run(ask())
    assert answer.scr["applies"]
    assert chunks[-1].scr["applies"]


def test_openai_reads_our_errors(serve, knowledge):
    from openai import AuthenticationError, OpenAI

    knowledge.store.keys.create("reader", ["default"], by="ana")
    url = serve(knowledge)
    with (
        OpenAI(base_url=f"{url}/v1", api_key="sk-x", max_retries=0) as client,
        pytest.raises(AuthenticationError, match="scr keys create"),
    ):
        client.models.list()


def test_anthropic(url, asked):
    from anthropic import Anthropic

    with Anthropic(base_url=url, api_key="sk-ant", max_retries=0) as client:
        answer = client.messages.create(
            model="m", max_tokens=9, system="Be brief.", messages=user(ABOUT)
        )
        assert answer.content[0].text == "Hello from upstream."
        assert asked()["system"].startswith("Be brief.\n\n")
        assert "Dana Lee" in asked()["system"]
        with client.messages.stream(model="m", max_tokens=9, messages=user(ABOUT)) as stream:
            assert "".join(stream.text_stream) == "Hello from upstream."
        raw = client.messages.with_raw_response.create(
            model="m", max_tokens=9, messages=user(OTHER)
        )
        assert raw.headers["x-scr-decision"] == "passed"


def test_anthropic_reads_our_errors(serve, knowledge):
    from anthropic import Anthropic, AuthenticationError

    knowledge.store.keys.create("reader", ["default"], by="ana")
    with (
        Anthropic(base_url=serve(knowledge), api_key="sk-x", max_retries=0) as client,
        pytest.raises(AuthenticationError, match="scr keys create"),
    ):
        client.messages.create(model="m", max_tokens=9, messages=user(OTHER))


def test_langchain_openai(url, asked):
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(
        base_url=f"{url}/v1", api_key="sk-test", model="m", max_retries=0, stream_usage=True
    )
    assert chat.invoke(ABOUT).content == "Hello from upstream."
    assert "Dana Lee" in asked()["messages"][0]["content"]
    whole = None
    for chunk in chat.stream(ABOUT):
        whole = chunk if whole is None else whole + chunk
    assert whole.content == "Hello from upstream."
    assert whole.usage_metadata["total_tokens"] == 10
    called = chat.bind_tools([TOOL]).invoke(ABOUT)
    assert called.tool_calls[0]["name"] == "lookup"
