import asyncio
import copy

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import (
    BaseCallbackHandler,
    UsageMetadataCallbackHandler,
    get_usage_metadata_callback,
)
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableBinding, RunnableLambda
from langchain_core.tools import tool
from pydantic import BaseModel, ValidationError

from scr.chat import ScrChatModel, ScriptedChatModel

from .knowledge import FACT, FakeKnowledge

ASKED = "Who runs Company X?"
OTHER = "Where is the nearest bakery?"
CALL = {"name": "lookup", "args": {"name": "X"}, "id": "c1", "type": "tool_call"}
WAYS = ["invoke", "ainvoke", "stream", "astream", "batch", "abatch", "generate", "agenerate"]


class Runs(BaseCallbackHandler):
    """Counts what callbacks are told."""

    def __init__(self):
        self.started, self.tokens, self.ended, self.failed, self.metadata = 0, 0, 0, 0, []

    def on_chat_model_start(self, *args, metadata=None, **kwargs):
        self.started += 1
        self.metadata.append(metadata or {})

    def on_llm_new_token(self, *args, **kwargs):
        self.tokens += 1

    def on_llm_end(self, *args, **kwargs):
        self.ended += 1

    def on_llm_error(self, *args, **kwargs):
        self.failed += 1


@tool
def lookup(name: str) -> str:
    """Look a name up."""
    return name


class Company(BaseModel):
    """A company."""

    name: str
    leader: str


def answer_by_facts(messages):
    known = any(FACT in str(message.content) for message in messages)
    return "Dana Lee, since this year." if known else "I do not know."


def scripted(answers=answer_by_facts):
    return ScriptedChatModel(answers=answers)


@pytest.fixture
def inner():
    return scripted()


@pytest.fixture
def knowledge():
    return FakeKnowledge()


@pytest.fixture
def chat(inner, knowledge):
    return ScrChatModel(inner=inner, knowledge=knowledge)


@pytest.fixture
def global_cache():
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


async def ask(chat, way, given, config=None):
    """Ask in one of the ways a LangChain model can be asked; return the whole answer."""
    if way == "stream":
        return sum_chunks(chat.stream(given, config))
    if way == "astream":
        return sum_chunks([chunk async for chunk in chat.astream(given, config)])
    if way == "batch":
        return chat.batch([given], config)[0]
    if way == "abatch":
        return (await chat.abatch([given], config))[0]
    if way == "generate":
        messages = chat._convert_input(given).to_messages()
        callbacks = (config or {}).get("callbacks")
        return chat.generate([messages], callbacks=callbacks).generations[0][0].message
    if way == "agenerate":
        messages = chat._convert_input(given).to_messages()
        callbacks = (config or {}).get("callbacks")
        result = await chat.agenerate([messages], callbacks=callbacks)
        return result.generations[0][0].message
    answer = getattr(chat, way)(given, config)
    return await answer if way == "ainvoke" else answer


def sum_chunks(chunks):
    whole, *rest = chunks
    for chunk in rest:
        whole += chunk
    return whole


@pytest.mark.parametrize("way", WAYS)
async def test_facts_reach_the_model_in_every_way_of_asking(chat, inner, way):
    answer = await ask(chat, way, ASKED)
    assert answer.content == "Dana Lee, since this year."
    (messages,) = inner.calls
    assert messages == [SystemMessage(FACT), HumanMessage(ASKED)]
    assert answer.response_metadata["scr"] == {
        "trace": answer.response_metadata["scr"]["trace"],
        "applies": True,
        "probability": 0.97,
        "facts": [{"id": "f1", "probability": 0.97}],
        "dropped": ["f9"],
        "injected_tokens": 6,
        "sequence": 4,
    }


@pytest.mark.parametrize("way", WAYS)
async def test_where_nothing_applies_the_same_objects_reach_the_model(chat, inner, way):
    given = [SystemMessage("Be brief."), HumanMessage(OTHER)]
    answer = await ask(chat, way, given)
    assert answer.content == "I do not know."
    (messages,) = inner.calls
    assert all(a is b for a, b in zip(messages, given, strict=True))
    assert answer.response_metadata["scr"]["applies"] is False
    assert answer.response_metadata["scr"]["facts"] == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("question", [ASKED, OTHER], ids=["applies", "does not"])
async def test_all_but_the_metadata_is_the_inner_models_answer(way, question):
    bare, inner = scripted(), scripted()
    chat = ScrChatModel(inner=inner, knowledge=FakeKnowledge())
    given = [SystemMessage(FACT), HumanMessage(question)] if question == ASKED else question
    expected, answer = await ask(bare, way, given), await ask(chat, way, question)
    del answer.response_metadata["scr"]
    for message in (expected, answer):
        message.id = None
    assert answer == expected
    assert type(answer) is type(expected)
    assert answer.usage_metadata is not None


@pytest.mark.parametrize(
    "given",
    [
        OTHER,
        [("human", OTHER)],
        StringPromptValue(text=OTHER),
        ChatPromptValue(messages=[HumanMessage(OTHER)]),
    ],
    ids=["text", "tuples", "string prompt", "chat prompt"],
)
def test_the_very_input_is_passed_on_where_nothing_applies(knowledge, given):
    seen = []

    class Watching(ScriptedChatModel):
        def invoke(self, input, config=None, **kwargs):
            seen.append(input)
            return super().invoke(input, config, **kwargs)

    ScrChatModel(inner=Watching(answers={"": "Yes."}), knowledge=knowledge).invoke(given)
    assert seen[0] is given


def test_an_existing_system_message_is_replaced_and_the_others_are_the_same(chat, inner):
    given = [SystemMessage("Be brief.", id="s"), HumanMessage("Hi"), HumanMessage(ASKED)]
    before = copy.deepcopy(given)
    chat.invoke(given)
    (messages,) = inner.calls
    assert messages[0] == SystemMessage(f"Be brief.\n\n{FACT}", id="s")
    assert all(a is b for a, b in zip(messages[1:], given[1:], strict=True))
    assert given == before


@pytest.mark.parametrize(
    "last",
    [
        ToolMessage(ASKED, tool_call_id="c1"),
        AIMessage(ASKED, tool_calls=[CALL]),
        HumanMessage(ASKED),
    ],
    ids=["result", "call", "question"],
)
def test_nothing_comes_between_a_tool_call_and_its_result(chat, inner, last):
    given = [HumanMessage(ASKED), AIMessage("", tool_calls=[CALL]), last]
    answer = chat.invoke(given)
    assert all(a is b for a, b in zip(inner.calls[0], given, strict=True))
    assert "scr" not in answer.response_metadata


def test_arguments_of_a_tool_call_may_be_no_json(chat, inner):
    call = {**CALL, "args": {"seen": {1, 2}, "by": object()}}
    given = [AIMessage("", tool_calls=[call]), ToolMessage("r", tool_call_id="c1"), OTHER]
    assert chat.invoke(given).content == "I do not know."
    assert inner.calls[0][0] is given[0]


def test_a_question_after_a_tool_result_is_augmented(chat, inner):
    call = AIMessage("", tool_calls=[CALL])
    chat.invoke([HumanMessage("a"), call, ToolMessage("r", tool_call_id="c1"), HumanMessage(ASKED)])
    assert inner.calls[0][0] == SystemMessage(FACT)


def test_exactly_one_chunk_carries_the_metadata(chat):
    chunks = list(chat.stream(ASKED))
    assert len(chunks) > 3
    assert ["scr" in chunk.response_metadata for chunk in chunks].index(True) == 0
    assert sum("scr" in chunk.response_metadata for chunk in chunks) == 1
    assert len({chunk.id for chunk in chunks}) == 1


async def test_events_of_a_stream_carry_chunks_once(chat, inner):
    events = [event async for event in chat.astream_events(ASKED, version="v2")]
    streamed = [e["data"]["chunk"] for e in events if e["event"] == "on_chat_model_stream"]
    assert sum_chunks(streamed).content == "Dana Lee, since this year."
    assert sum(event["event"] == "on_chat_model_end" for event in events) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_callbacks_see_one_run_as_of_the_bare_model(way):
    counts = []
    for chat in (scripted(), ScrChatModel(inner=scripted(), knowledge=FakeKnowledge())):
        runs, usage = Runs(), UsageMetadataCallbackHandler()
        await ask(chat, way, OTHER, {"callbacks": [runs, usage]})
        counts.append((runs.started, runs.tokens, runs.ended, usage.usage_metadata))
    assert counts[0] == counts[1]
    assert counts[0][0] == 1


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_usage_is_counted_once(chat, way):
    with get_usage_metadata_callback() as usage:
        answer = await ask(chat, way, ASKED)
    assert usage.usage_metadata == {"scripted": answer.usage_metadata}


def test_callbacks_of_both_models_are_called(knowledge):
    outer, within = Runs(), Runs()
    inner = ScriptedChatModel(answers=answer_by_facts, callbacks=[within])
    ScrChatModel(inner=inner, knowledge=knowledge, callbacks=[outer]).invoke(ASKED)
    assert (outer.started, outer.ended, within.started, within.ended) == (1, 1, 1, 1)
    answers = ScrChatModel(inner=inner, knowledge=knowledge, callbacks=[outer]).generate(
        [[HumanMessage(ASKED)]]
    )
    assert answers.generations[0][0].text.startswith("Dana")
    assert (outer.started, within.started) == (2, 2)


def test_a_run_with_facts_names_the_trace(chat):
    runs = Runs()
    answer = chat.invoke(ASKED, {"callbacks": [runs]})
    chat.invoke(OTHER, {"callbacks": [runs]})
    assert runs.metadata[0]["scr_trace"] == answer.response_metadata["scr"]["trace"]
    assert "scr_trace" not in runs.metadata[1]


def test_the_inner_models_cache_is_used_and_left_clean(knowledge):
    inner = ScriptedChatModel(answers=answer_by_facts, cache=InMemoryCache())
    chat = ScrChatModel(inner=inner, knowledge=knowledge)
    first, second = chat.invoke(ASKED), chat.invoke(ASKED)
    assert len(inner.calls) == 1
    assert first.response_metadata["scr"]["trace"] != second.response_metadata["scr"]["trace"]
    assert "scr" not in inner.invoke([SystemMessage(FACT), HumanMessage(ASKED)]).response_metadata


@pytest.mark.parametrize("way", ["invoke", "generate"])
@pytest.mark.usefixtures("global_cache")
async def test_no_cache_outlives_a_change_of_facts(way):
    question = "Who runs company x?"

    class Learning(FakeKnowledge):
        learned = False

        def run(self, messages, *, count_tokens=None, budget=None):
            if self.learned:
                return [{"role": "system", "content": FACT}, *messages], None
            return messages, None

    knowledge = Learning()
    chat = ScrChatModel(inner=scripted(), knowledge=knowledge)
    assert (await ask(chat, way, question)).content == "I do not know."
    knowledge.learned = True
    assert (await ask(chat, way, question)).content.startswith("Dana Lee")


def test_a_cache_on_the_wrapper_is_refused(inner, knowledge):
    with pytest.raises(ValidationError, match="belongs to the inner model"):
        ScrChatModel(inner=inner, knowledge=knowledge, cache=True)


def test_a_bound_model_is_refused_with_what_to_do(inner, knowledge):
    with pytest.raises(ValidationError, match="wrap the chat model itself"):
        ScrChatModel(inner=inner.bind(stop=["."]), knowledge=knowledge)


class Broken(Exception):
    """What a provider's client raises."""


def refuse(messages):
    raise Broken("no")


@pytest.mark.parametrize("way", WAYS)
async def test_the_models_own_errors_pass_through(knowledge, way):
    runs = Runs()
    chat = ScrChatModel(inner=scripted(refuse), knowledge=knowledge)
    with pytest.raises(Broken, match="no"):
        await ask(chat, way, ASKED, {"callbacks": [runs]})
    assert runs.failed == 1


def test_retries_and_fallbacks_work_around_it(knowledge):
    attempts = []

    def fail_once(messages):
        attempts.append(messages)
        if len(attempts) == 1:
            raise Broken("no")
        return "Yes."

    chat = ScrChatModel(inner=scripted(fail_once), knowledge=knowledge)
    retrying = chat.with_retry(
        retry_if_exception_type=(Broken,), wait_exponential_jitter=False, stop_after_attempt=2
    )
    assert retrying.invoke(ASKED).content == "Yes."
    failing = ScrChatModel(inner=scripted(refuse), knowledge=knowledge)
    assert failing.with_fallbacks([chat]).invoke(ASKED).content == "Yes."


def test_bound_tools_reach_the_model_with_the_facts(knowledge):
    inner = scripted({"": AIMessage("", tool_calls=[CALL])})
    bound = ScrChatModel(inner=inner, knowledge=knowledge).bind_tools([lookup], tool_choice="any")
    assert isinstance(bound, RunnableBinding)
    for answer in (bound.invoke(ASKED), sum_chunks(bound.stream(ASKED))):
        assert answer.tool_calls == [CALL]
        assert answer.response_metadata["scr"]["applies"]
    assert all(messages[0] == SystemMessage(FACT) for messages in inner.calls)
    assert inner.options[0]["tools"][0]["function"]["name"] == "lookup"
    assert inner.options[0]["tool_choice"] == "any"


def test_tools_of_a_model_that_binds_in_its_own_way(knowledge):
    class Chained(ScriptedChatModel):
        def bind_tools(self, tools, **kwargs):
            return RunnableLambda(lambda given: given) | super().bind_tools(tools, **kwargs)

    inner = Chained(answers=answer_by_facts)
    answer = ScrChatModel(inner=inner, knowledge=knowledge).bind_tools([lookup]).invoke(ASKED)
    assert answer.content.startswith("Dana Lee")
    assert answer.response_metadata["scr"]["applies"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_structured_output_is_the_inner_models_own_and_augmented(knowledge, way):
    call = {**CALL, "name": "Company", "args": {"name": "X", "leader": "Dana Lee"}}
    inner = scripted({"": AIMessage("", tool_calls=[call])})
    structured = ScrChatModel(inner=inner, knowledge=knowledge).with_structured_output(Company)
    assert await ask_last(structured, way) == Company(name="X", leader="Dana Lee")
    assert inner.calls[0] == [SystemMessage(FACT), HumanMessage(ASKED)]


@pytest.mark.parametrize("way", ["invoke", "stream"])
async def test_the_raw_message_of_a_structured_answer_is_marked(knowledge, way):
    call = {**CALL, "name": "Company", "args": {"name": "X", "leader": "Dana Lee"}}
    inner = scripted({"": AIMessage("", tool_calls=[call])})
    chat = ScrChatModel(inner=inner, knowledge=knowledge)
    structured = chat.with_structured_output(Company, include_raw=True)
    answer = await ask(structured, way, ASKED)
    assert answer["raw"].response_metadata["scr"]["applies"]
    assert answer["parsed"] == Company(name="X", leader="Dana Lee")


async def ask_last(runnable, way):
    if way == "stream":
        return list(runnable.stream(ASKED))[-1]
    if way == "astream":
        return [chunk async for chunk in runnable.astream(ASKED)][-1]
    return await ask(runnable, way, ASKED)


def test_options_of_a_call_reach_the_model(chat, inner):
    assert chat.bind(stop=[","]).invoke(ASKED, temperature=1).content == "Dana Lee"
    assert inner.options == [{"temperature": 1, "stop": [","]}]
    assert chat.invoke(ASKED, stop=["Lee"]).content == "Dana "


def test_it_works_in_a_chain(chat, inner):
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")])
    chain = prompt | chat | (lambda message: message.content)
    assert chain.invoke({"question": ASKED}) == "Dana Lee, since this year."
    assert inner.calls[0][0].content == f"Be brief.\n\n{FACT}"


def test_models_without_streaming_stream_one_message(knowledge):
    inner = ScriptedChatModel(answers=answer_by_facts, disable_streaming=True)
    (chunk,) = ScrChatModel(inner=inner, knowledge=knowledge).stream(ASKED)
    assert chunk.content == "Dana Lee, since this year."
    assert chunk.response_metadata["scr"]["applies"]


def test_tokens_are_counted_by_the_inner_model(chat, inner, knowledge):
    chat.invoke(ASKED)
    assert knowledge.counters[0]("one two three") == 3


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_no_more_is_injected_than_the_inner_model_has_room_for(knowledge, way):
    class Small(ScriptedChatModel):
        def room(self, messages):
            return 100 - self.count_tokens(messages[-1].text)

    small = Small(answers=answer_by_facts)
    await ask(ScrChatModel(inner=small, knowledge=knowledge), way, ASKED)
    await ask(ScrChatModel(inner=scripted(), knowledge=knowledge), way, ASKED)
    assert knowledge.budgets == [96, None]


def test_what_describes_the_model_is_the_inner_models(knowledge):
    profile = {"max_input_tokens": 99}
    inner = ScriptedChatModel(answers={}, profile=profile, model="m1")
    chat = ScrChatModel(inner=inner, knowledge=knowledge)
    assert chat.profile == profile
    assert chat._identifying_params["inner"]["model"] == "m1"
    assert chat._get_ls_params()["ls_model_name"] == "m1"
    assert chat._llm_type == "scr"


def test_one_wrapper_may_be_shared_between_threads(chat):
    questions = [ASKED, OTHER] * 20
    answers = chat.batch(questions, {"max_concurrency": 8})
    assert [a.response_metadata["scr"]["applies"] for a in answers] == [True, False] * 20


async def test_many_may_ask_at_once(chat):
    answers = await asyncio.gather(*(chat.ainvoke(q) for q in [ASKED, OTHER] * 10))
    assert [a.content[:4] for a in answers] == ["Dana", "I do"] * 10
