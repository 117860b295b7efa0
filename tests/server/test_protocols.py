"""Reading and placing, and the chunk that is put into a stream."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scr.messages import read_question
from scr.server.protocols import (
    ALL,
    CHAT,
    COMPLETIONS,
    MESSAGES,
    RESPONSES,
    Annotator,
    parsed,
    written,
)

CHUNK = b'data: {"id": "c1", "model": "m", "object": "chat.completion.chunk", "choices": []}\n\n'
USER = [{"role": "user", "content": "Q"}]
INPUT = {"type": "input_text", "text": "Q"}
END = b"data: [DONE]\n\n"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def fed(stream, cuts, told=None):
    annotator = Annotator(told or {"x": 1})
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    parts = [stream[a:b] for a, b in pairwise(places)]
    return b"".join(annotator.feed(part) for part in parts) + annotator.finish()


@given(st.lists(st.integers(0, 400)), st.integers(0, 3))
def test_one_chunk_is_put_in_before_the_end_however_the_bytes_are_cut(cuts, chunks):
    stream = CHUNK * chunks + END
    out = fed(stream, cuts)
    assert out.endswith(END)
    added = out.removesuffix(END).removeprefix(CHUNK * chunks)
    chunk = json.loads(added.removeprefix(b"data: "))
    assert (chunk["choices"], chunk["scr"]) == ([], {"x": 1})
    assert chunk.get("id") == ("c1" if chunks else None)


@given(st.lists(st.integers(0, 400)), st.binary(max_size=300))
def test_a_stream_without_its_end_passes_as_it_is(cuts, stream):
    if b"data: [DONE]" not in stream:
        assert fed(stream, cuts) == stream


def test_the_end_within_a_text_is_no_end():
    stream = b'data: {"text": "data: [DONE]"}\n\n'
    assert fed(stream, [3, 20]) == stream


def test_nothing_but_a_possible_end_is_held_back():
    annotator = Annotator({})
    assert annotator.feed(CHUNK) == CHUNK
    assert annotator.feed(b"data: {") == b"data: {"
    assert annotator.feed(b"}\n\ndata: [D") == b"}\n\n"
    assert annotator.feed(b"ONE]\n\n").endswith(END)


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.path)
@given(body=JSON)
def test_any_json_is_read_or_refused(protocol, body):
    value = parsed(json.dumps(body).encode())
    if value is not None:
        messages = protocol.read(value)
        if messages is not None:
            read_question(messages)


def test_deeply_nested_json_is_refused():
    assert parsed(b"[" * 100_000) is None
    assert parsed(b'{"a": ' * 100_000) is None


@pytest.mark.parametrize("placement", ["system", "user"])
@pytest.mark.parametrize(
    ("protocol", "body"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "Q"}], "temperature": 0}),
        (
            CHAT,
            {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]},
        ),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}]}),
        (COMPLETIONS, {"prompt": "Q"}),
        (COMPLETIONS, {"prompt": ["Q"], "echo": False}),
        (RESPONSES, {"input": "Q"}),
        (RESPONSES, {"input": "Q", "instructions": "S"}),
        (RESPONSES, {"input": [{"role": "user", "content": "Q"}]}),
        (
            RESPONSES,
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Q"}]}]},
        ),
        (MESSAGES, {"messages": [{"role": "user", "content": "Q"}]}),
        (MESSAGES, {"system": "S", "messages": [{"role": "user", "content": "Q"}]}),
        (
            MESSAGES,
            {
                "system": [{"type": "text", "text": "S"}],
                "messages": [{"role": "user", "content": "Q"}],
            },
        ),
    ],
)
def test_a_text_is_placed_and_the_rest_is_as_it_was(protocol, body, placement):
    before = json.dumps(body)
    placed = protocol.place(body, "FACTS", placement)
    assert json.dumps(body) == before
    assert json.dumps(placed).count("FACTS") == 1
    assert json.dumps(placed).count("Q") >= 1
    messages = protocol.read(placed)
    text, _ = read_question(messages)
    assert ("FACTS" in text) == (placement == "user" or protocol is COMPLETIONS)
    kept = {"messages", "input", "instructions", "system", "prompt"}
    assert {k: v for k, v in placed.items() if k not in kept} == {
        k: v for k, v in body.items() if k not in kept
    }
    assert parsed(written(placed)) == placed


def test_the_same_text_gives_the_same_bytes():
    body = {"messages": [{"role": "user", "content": "Q"}]}
    placed = [written(CHAT.place(body, "FACTS", "system")) for _ in range(2)]
    assert placed[0] == placed[1]
