import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue

from scr.chat.messages import as_messages, awaits_tool, plain_text, restore, role_of, to_openai
from scr.errors import InvalidInput

IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}
CALL = {"name": "lookup", "args": {"q": "X"}, "id": "c1", "type": "tool_call"}
QUESTION, CALLED = HumanMessage("q"), AIMessage("", tool_calls=[CALL])
CALLED_TWICE = AIMessage("", tool_calls=[CALL, {**CALL, "id": "c2"}])
RESULT, SECOND = ToolMessage("r", tool_call_id="c1"), ToolMessage("s", tool_call_id="c2")


@pytest.mark.parametrize(
    ("message", "role"),
    [
        (HumanMessage("a"), "user"),
        (AIMessage("a"), "assistant"),
        (AIMessageChunk(content="a"), "assistant"),
        (SystemMessage("a"), "system"),
        (SystemMessage("a", additional_kwargs={"__openai_role__": "developer"}), "developer"),
        (ToolMessage("a", tool_call_id="1"), "tool"),
        (FunctionMessage(name="f", content="a"), "function"),
        (ChatMessage(role="critic", content="a"), "critic"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_roles_have_openai_names(message, role):
    assert role_of(message) == role
    assert to_openai(message)["role"] == role


def test_content_is_the_same_object():
    message = HumanMessage([{"type": "text", "text": "Who is this?"}, IMAGE])
    assert to_openai(message)["content"] is message.content


@pytest.mark.parametrize(
    "given",
    [
        "Hi",
        [HumanMessage("Hi")],
        [("human", "Hi")],
        [{"role": "user", "content": "Hi"}],
        StringPromptValue(text="Hi"),
        ChatPromptValue(messages=[HumanMessage("Hi")]),
    ],
    ids=["text", "messages", "tuples", "dicts", "string prompt", "chat prompt"],
)
def test_every_form_of_input_is_read(given):
    assert as_messages(given) == [HumanMessage("Hi")]


def test_other_input_is_refused():
    with pytest.raises(InvalidInput, match="a chat model cannot read a int"):
        as_messages(7)


@pytest.mark.parametrize(
    ("messages", "awaits"),
    [
        ([], False),
        ([QUESTION], False),
        ([CALLED], True),
        ([CALLED, QUESTION], True),
        ([CALLED, RESULT], False),
        ([CALLED, RESULT, QUESTION], False),
        ([CALLED_TWICE, RESULT, QUESTION], True),
        ([CALLED_TWICE, RESULT, SECOND, QUESTION], False),
        ([CALLED, QUESTION, AIMessage("Never mind."), QUESTION], False),
    ],
)
def test_a_tool_is_awaited_until_all_results_of_the_last_calls_are_there(messages, awaits):
    assert awaits_tool(messages) is awaits


messages = st.lists(
    st.builds(HumanMessage, st.text()) | st.builds(AIMessage, st.text()), min_size=1, max_size=5
)


@settings(deadline=None)
@given(messages)
def test_a_message_in_front_leaves_the_others_as_they_are(originals):
    shaped = [to_openai(message) for message in originals]
    restored = restore(originals, shaped, [{"role": "system", "content": "S"}, *shaped])
    assert restored[0] == SystemMessage("S")
    assert all(a is b for a, b in zip(restored[1:], originals, strict=True))


@settings(deadline=None)
@given(messages, st.integers(0, 5))
def test_a_replaced_system_message_keeps_all_but_its_content(others, place):
    place = min(place, len(others))
    system = SystemMessage("S", id="s1", name="operator", additional_kwargs={"k": 1})
    originals = [*others[:place], system, *others[place:]]
    shaped = [to_openai(message) for message in originals]
    composed = [*shaped]
    composed[place] = {**shaped[place], "content": "S\n\nfact"}
    restored = restore(originals, shaped, composed)
    assert restored[place] == system.model_copy(update={"content": "S\n\nfact"})
    assert system.content == "S"
    assert all(
        a is b for n, (a, b) in enumerate(zip(restored, originals, strict=True)) if n != place
    )


def test_text_parts_are_joined_and_others_refused():
    assert plain_text(HumanMessage(["a", {"type": "text", "text": "b"}])) == "ab"
    with pytest.raises(InvalidInput, match="image_url"):
        plain_text(HumanMessage([{"type": "text", "text": "b"}, IMAGE]))
