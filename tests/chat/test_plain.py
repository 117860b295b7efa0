"""What else can be wrapped: functions, runnables, agents."""

import pytest
from langchain_core.runnables import RunnableLambda

from scr.chat import ScriptedChatModel
from scr.errors import InvalidInput
from tests.server.running import open_knowledge

ABOUT = "Who is the owner of Company X?"


@pytest.fixture
def knowledge(tmp_path):
    with open_knowledge(tmp_path / "facts.db") as knowledge:
        knowledge.add(subject="Company X", relation="owner", target="Dana Lee")
        yield knowledge


def test_a_function_answers_with_the_facts_that_apply(knowledge):
    seen = []
    wrapped = knowledge.wrap(lambda messages: seen.append(messages) or "An answer.")
    about, other = ({"role": "user", "content": text} for text in (ABOUT, "Where is a bakery?"))
    answer = wrapped([about])
    assert (answer, answer.scr["applies"]) == ("An answer.", True)
    assert "Dana Lee" in seen[0][0]["content"]
    messages = [other]
    assert wrapped(messages).scr["applies"] is False
    assert seen[1] is messages
    assert wrapped([]).scr is None


def test_a_runnable_reads_the_facts_that_apply(knowledge):
    chain = RunnableLambda(lambda messages: str(messages)) | str.upper
    wrapped = knowledge.wrap(chain)
    assert "DANA LEE" in wrapped.invoke(ABOUT)
    assert wrapped.invoke("Where is a bakery?") == "WHERE IS A BAKERY?"


def test_what_answers_nothing_is_refused(knowledge):
    with pytest.raises(InvalidInput, match="wrap a LangChain chat model"):
        knowledge.wrap(3)


def test_an_agents_model_calls_see_facts_and_tool_results_do_not(knowledge):
    from langchain.agents import create_agent
    from langchain_core.messages import AIMessage
    from langchain_core.tools import tool

    from scr.chat.agents import ScrMiddleware

    @tool
    def lookup(query: str) -> str:
        """Look something up."""
        return f"{query} is fine"

    call = {"name": "lookup", "args": {"query": "Company X"}, "id": "c1"}
    model = ScriptedChatModel(answers=[AIMessage(content="", tool_calls=[call]), "Dana Lee."])
    agent = create_agent(model, [lookup], middleware=[ScrMiddleware(knowledge)], system_prompt="S")
    state = agent.invoke({"messages": [{"role": "user", "content": ABOUT}]})
    first, second = ("\n".join(m.text for m in asked) for asked in model.calls)
    assert "The owner of Company X is Dana Lee" in first
    assert "Dana Lee" not in second
    assert [m.type for m in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert not any("Newer facts" in m.text for m in state["messages"])
