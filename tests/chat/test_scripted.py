import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from scr.chat import ScriptedChatModel
from scr.errors import InvalidInput

CALL = {"name": "lookup", "args": {"name": "X"}, "id": "c1", "type": "tool_call"}


def test_a_sequence_is_answered_in_order_and_then_refuses():
    chat = ScriptedChatModel(answers=["One.", AIMessage("Two.")])
    assert [chat.invoke("a").content, chat.invoke("b").content] == ["One.", "Two."]
    with pytest.raises(InvalidInput, match="2 answers are used up, and 'c' is asked"):
        chat.invoke("c")


def test_a_mapping_answers_by_the_last_message():
    chat = ScriptedChatModel(answers={"capital": "Paris.", "": "I do not know."})
    assert chat.invoke("What is the capital?").content == "Paris."
    assert chat.invoke([("system", "capital"), ("human", "Hi")]).content == "I do not know."


def test_a_mapping_without_an_answer_refuses():
    with pytest.raises(InvalidInput, match="no answer to 'Hi'"):
        ScriptedChatModel(answers={"capital": "Paris."}).invoke("Hi")


def test_a_function_sees_all_messages():
    chat = ScriptedChatModel(answers=lambda messages: f"{len(messages)} messages")
    assert chat.invoke([("system", "a"), ("human", "b")]).content == "2 messages"


def test_it_remembers_the_very_messages_and_options_of_every_call():
    chat = ScriptedChatModel(answers={"": "Yes."})
    given = [SystemMessage("a"), HumanMessage("b")]
    chat.invoke(given, temperature=1)
    list(chat.stream("c", stop=["."]))
    assert all(a is b for a, b in zip(chat.calls[0], given, strict=True))
    assert chat.calls[1] == [HumanMessage("c")]
    assert chat.options == [{"temperature": 1}, {"stop": ["."]}]


@pytest.mark.parametrize("text", ["", "one", " two  words\nand more ", "\n"])
def test_streamed_words_join_to_the_answer(text):
    chat = ScriptedChatModel(answers={"": text})
    chunks = list(chat.stream("a"))
    assert "".join(chunk.content for chunk in chunks) == text == chat.invoke("a").content
    assert len(chunks) == max(len(text.split()), bool(text)) + 1


def test_tool_calls_are_streamed():
    scripted = AIMessage("Looking.", tool_calls=[CALL])
    first, *rest = ScriptedChatModel(answers=[scripted]).stream("a")
    for chunk in rest:
        first += chunk
    assert first.tool_calls == [CALL]
    assert first.content == "Looking."


def test_answers_end_at_stop_strings_and_count_words():
    answer = ScriptedChatModel(answers=["One two. Three."]).invoke("a b c", stop=[" Three"])
    assert answer.content == "One two."
    assert answer.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


def test_the_script_is_never_changed():
    scripted = AIMessage("Yes.")
    ScriptedChatModel(answers=[scripted]).invoke("a")
    assert scripted == AIMessage("Yes.")
    assert scripted.id is None
