"""Asking and explaining through the command line; models and detector are the shipped fakes."""

import json
import re

import pytest

from scr.chat import ScriptedChatModel
from scr.errors import ModelUnavailable
from scr.records import Decision, Evidence, Match
from scr.retrieval import HashEmbedder

QUESTION = "Who is the chief executive officer of Company X?"
OTHER = "Where is the nearest bakery?"
EVIL = "[red]hot[/red] \x1b[31m\x07\x9b2J\u202e"


class MentionDetector:
    """Fires every fact whose subject the query names exactly; refuses the next."""

    def __call__(self, query, candidates):
        found = [self.match(candidate) for candidate in candidates]
        fired = tuple(match for match in found if match.probability > 0.5)
        refused = [match for match in found if match.probability <= 0.5]
        return Decision(
            applies=bool(fired),
            matches=fired,
            probability=max((match.probability for match in found), default=0.0),
            reason=f"asked: {query.text[:100]}",
            runner_up=refused[0] if refused else None,
            threshold=0.5,
            detector="mention-1",
        )

    def match(self, candidate):
        named = candidate.mention is not None and candidate.mention.similarity == 1
        shares = {f"feature {n}": (-1) ** n * n / 10 for n in range(12, 0, -1)}
        return Match(
            fact=candidate.fact,
            probability=0.9 if named else 0.1,
            evidence=Evidence(mention=candidate.mention, key=candidate.key, contributions=shares),
        )


@pytest.fixture
def chat(monkeypatch):
    """A model that answers from its context, and remembers what it read."""

    def answer(messages):
        knows = any("Dana Lee" in message.text for message in messages)
        return f"It is Dana Lee.\n{EVIL}" if knows else "It is Bob."

    model = ScriptedChatModel(answers=answer)

    def load(name):
        if name != "lab":
            raise ModelUnavailable(name, "there is no such folder")
        return model

    monkeypatch.setattr("scr.chat.load_chat_model", load)
    monkeypatch.setattr("scr.retrieval.load_embedder", lambda name: HashEmbedder())
    monkeypatch.setattr("scr.detection.load_detector", lambda **settings: MentionDetector())
    return model


@pytest.fixture
def ceo(chat, add):
    """A store with the fact that answers the question, and one that does not."""
    add("France", "capital", "Paris")
    source = ("--source", "https://x.example")
    return add("Company X", "chief executive officer", "Dana Lee", *source)["fact"]["id"]


def test_ask_answers_with_the_fact_and_says_where_it_came_from(scr, ceo):
    ran = scr("ask", QUESTION)
    assert (ran.code, ran.err) == (0, "")
    answer, _, provenance, source = ran.out.splitlines()
    assert answer == "It is Dana Lee."
    assert provenance.startswith(f"from {ceo} (p = 0.900): The chief executive officer of")
    assert source.strip() == "https://x.example"


def test_ask_passes_through_what_no_fact_answers(scr, ceo, chat):
    ran = scr("ask", OTHER)
    first, second = ran.out.splitlines()
    assert first == "It is Bob."
    assert second == "no fact applied (p = 0.100): the request went through unchanged"
    (message,) = chat.calls[-1]
    assert message.content == OTHER


def test_ask_bare_asks_the_model_alone_and_needs_no_store(scr, chat):
    assert scr("ask", QUESTION, "--bare").out == "It is Bob.\n"
    assert scr("ask", QUESTION, "--bare", "--json").json == [
        {"answer": "It is Bob.", "facts": [], "trace": None}
    ]


def test_ask_streams_the_same_answer(scr, ceo):
    assert scr("ask", QUESTION, "--stream").out == scr("ask", QUESTION).out
    assert scr("ask", OTHER, "--stream").out == scr("ask", OTHER).out


def test_ask_json_has_the_answer_the_facts_and_the_trace(scr, ceo):
    (found,) = scr("ask", QUESTION, "--json", "--stream").json
    assert found["answer"] == f"It is Dana Lee.\n{EVIL}"
    assert [fact["id"] for fact in found["facts"]] == found["trace"]["injected"] == [ceo]


def test_ask_reads_the_store_and_the_world_at_a_time(scr, ceo):
    scr("supersede", ceo, "Eve Ito", "--from", "2025-06-01")
    answers = {
        "now": scr("ask", QUESTION),
        "then": scr("ask", QUESTION, "--valid-at", "2025-05-31"),
        "before": scr("ask", QUESTION, "--as-of", "1"),
        "elsewhere": scr("ask", QUESTION, "--scope", "elsewhere"),
    }
    dana = {name for name, ran in answers.items() if "Dana Lee" in ran.out.splitlines()[0]}
    assert dana == {"then"}
    assert "Eve Ito" in answers["now"].out
    assert "no fact applied" in answers["before"].out
    assert "no fact applied" in answers["elsewhere"].out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ask", ""], 2, "the question is empty"),
        (["ask", " \n"], 2, "the question is empty"),
        (["ask", "x", "--model", "/none"], 6, "model '/none' cannot be loaded: there is no such"),
        (["ask", "x", "--valid-at", "soon"], 2, "use 2024-03-01"),
        (["ask", "x", "--scope", "No!"], 2, "no scope"),
        (["why"], 2, "give either a question or --trace ID"),
        (["why", "x", "--trace", "y"], 2, "give either a question or --trace ID"),
        (["why", "--trace", "y"], 3, "no trace 'y'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_asked_is_refused_with_the_reason(arguments, code, message, scr, ceo):
    ran = scr(*arguments)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert message in scr(*arguments, "--json").error["message"]


@pytest.mark.parametrize(
    "question",
    ["x" * 1_000_000, "\x00\x01\x7f", "a\udcffb", "שלום \u202e", "💥👩‍👩‍👧", EVIL],
    ids=["huge", "binary", "surrogate", "right to left", "emoji", "escapes"],
)
@pytest.mark.parametrize("command", ["why", "ask"])
def test_any_question_gets_an_answer_that_steers_no_terminal(command, question, scr, ceo):
    for arguments in ([command, question], [command, question, "--json"]):
        ran = scr(*arguments)
        assert ran.code == 0, ran.err
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", ran.out)
        assert len(ran.out) < 20_000


@pytest.mark.parametrize("columns", [80, 120])
def test_why_shows_words_key_shares_and_the_runner_up(columns, scr, ceo, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = scr("why", QUESTION).out
    assert all(len(line) <= columns for line in out.splitlines())
    for part in (
        "applies  p = 0.900 ≥ 0.500", ceo, "words: “Company X” name Company X (1.00)",
        "nearest key: ", "feature 12", "+1.20", "▇", "4 others", "+0.20", "refused", "Paris",
        "store change 2, detector mention-1",
    ):  # fmt: skip
        assert part in out
    assert "feature 4 " not in out
    assert "passes through  p = 0.100 < 0.500" in scr("why", OTHER).out


def test_why_json_is_the_decision(scr, ceo):
    (decision,) = scr("why", QUESTION, "--json").json
    assert Decision.model_validate(decision).matches[0].fact.id == ceo


def test_why_explains_a_decision_that_was_recorded(scr, ceo, monkeypatch):
    trace = scr("ask", QUESTION, "--json").json[0]["trace"]["id"]
    scr("revise", ceo, "--statement", "Dana runs X.")
    out = scr("why", "--trace", trace).out
    assert "The chief executive officer of Company X is Dana Lee." in out
    assert "asked (SHA-256 " in out
    assert "tokens injected" in out
    assert QUESTION not in out, "text is kept only where the setting allows it"
    assert scr("why", "--trace", trace, "--json").json[0]["id"] == trace
    monkeypatch.setenv("SCR_TRACE_TEXT", "1")
    trace = scr("ask", QUESTION, "--json").json[0]["trace"]["id"]
    assert f"asked {QUESTION}" in scr("why", "--trace", trace).out.replace("\n", " ")


def test_a_corrupt_index_is_rebuilt_loudly(scr, ceo, tmp_path, caplog):
    assert scr("ask", QUESTION).code == 0
    (tmp_path / "facts.db.index").write_bytes(b"PK\x03\x04 no index")
    ran = scr("ask", QUESTION)
    assert ran.code == 0
    assert "Dana Lee" in ran.out
    assert "cannot be read" in caplog.text


def test_the_demo_exits_with_its_outcome(scr, monkeypatch):
    pytest.importorskip("scr.cli.demo")
    for held in (True, False):

        def run_demo(console, held=held):
            console.print("a claim")
            return held

        monkeypatch.setattr("scr.cli.demo.run_demo", run_demo)
        assert scr("demo")[:2] == (0 if held else 1, "a claim\n")
        ran = scr("demo", "--json")
        assert (ran.code, ran.json) == (0 if held else 1, [{"held": held}])


def levels(ran):
    return {check["name"]: check["level"] for check in ran.json}


def test_doctor_says_that_all_is_well(scr, ceo, chat):
    scr("ask", QUESTION)
    ran = scr("doctor", "--json")
    assert ran.code == 0
    assert set(levels(ran).values()) == {"ok"}
    assert set(levels(ran)) == {
        "scr", "packages", "full text", "disk", "store", "detector", "embedder", "index",
        "lab model",
    }  # fmt: skip
    shown = scr("doctor")
    assert shown.code == 0
    assert "store: facts.db: 2 approved, at change 2" in shown.out


def test_doctor_says_what_to_do(scr, chat, tmp_path, monkeypatch):
    def fail(name):
        raise ModelUnavailable(name, "it is gone; get it back")

    ran = scr("doctor", "--json")
    assert ran.code == 0, "a store that is still to be made is no failure"
    assert levels(ran)["store"] == "warn"
    assert "scr --store facts.db init" in ran.out
    monkeypatch.setattr("scr.retrieval.load_embedder", fail)
    monkeypatch.setattr("scr.chat.load_chat_model", fail)
    (tmp_path / "facts.db").write_bytes(b"no database at all")
    ran = scr("doctor")
    assert ran.code == 1
    assert ran.out.count("get it back") == 2
    assert "untouched" in ran.out
    failed = scr("doctor", "--json")
    assert failed.code == 1
    assert {name for name, level in levels(failed).items() if level == "fail"} == {
        "store",
        "embedder",
        "lab model",
    }


def test_doctor_warns_of_an_index_that_is_behind(scr, ceo, add):
    scr("ask", QUESTION)
    add("Rome", "mayor", "Ada Neri")
    ran = scr("doctor", "--json")
    assert ran.code == 0
    assert levels(ran)["index"] == "warn"
    assert json.dumps("the next question brings it up to date") in ran.out
