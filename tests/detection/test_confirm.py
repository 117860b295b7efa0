import logging
import math

import pytest
from langchain_core.messages import AIMessage

from scr.chat import ScriptedChatModel
from scr.detection import ChatConfirmer, CrossEncoderConfirmer
from scr.errors import ModelUnavailable
from scr.records import Query, Turn

QUERY = Query(text="Who runs it?", history=(Turn(role="user", text="About Company X."),))


def asked(*answers):
    model = ScriptedChatModel(answers=list(answers))
    return ChatConfirmer(model)(QUERY, ["Dana Lee runs Company X."] * len(answers)), model


@pytest.mark.parametrize(
    ("answer", "probability"),
    [("Yes", 1), ("yes.", 1), ("No", 0), ("**No**, it does not", 0), ("It says: yes", 1)],
)
def test_an_answer_in_words_is_read(answer, probability):
    assert asked(answer)[0] == [probability]


def test_what_cannot_be_read_is_no_and_is_logged(caplog):
    with caplog.at_level(logging.WARNING):
        assert asked("Perhaps.", "")[0] == [0, 0]
    assert "neither yes nor no" in caplog.text


def test_log_probabilities_count_where_the_answer_carries_them():
    shown = [("Yes", math.log(0.6)), (" no", math.log(0.2)), ("Perhaps", math.log(0.2))]
    top = [{"token": token, "logprob": value} for token, value in shown]
    content = [{"token": "Yes", "logprob": shown[0][1], "top_logprobs": top}]
    answer = AIMessage("Yes", response_metadata={"logprobs": {"content": content}})
    assert asked(answer)[0] == [pytest.approx(0.75)]


def test_the_model_sees_the_turns_before_and_one_statement_at_a_time():
    _, model = asked("yes", "no")
    assert len(model.calls) == 2
    prompt = model.calls[0][0].content
    assert "user: About Company X." in prompt
    assert "Who runs it?" in prompt
    assert "Dana Lee runs Company X." in prompt


def test_a_cross_encoder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelUnavailable, match="nowhere"):
        CrossEncoderConfirmer(str(tmp_path / "nowhere"))
