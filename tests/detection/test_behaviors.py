"""What users expect of a decision, with the shipped detector and the offline embedder."""

import random
import string

import pytest
from test_detector import retriever_of

from scr.detection import load_detector
from scr.facts import make_fact
from scr.records import Query, Turn
from scr.retrieval import load_embedder
from scr.retrieval.embedders import OFFLINE_PACKAGE

pytest.importorskip(OFFLINE_PACKAGE, reason="needs the offline extra")

FACTS = [
    make_fact(
        id="ceo",
        subject="Northwind Instruments",
        aliases=["NWI", "Northwind"],
        relation="chief executive officer",
        target="Lucía Ramírez",
    ),
    make_fact(
        id="seat",
        subject="Northwind Instruments",
        aliases=["NWI", "Northwind"],
        relation="headquarters",
        target="Tromsø",
    ),
    make_fact(
        id="born", subject="Lucía Ramírez", relation="place of birth", target="San Sebastián"
    ),
    make_fact(id="warranty", subject="Router X2", relation="warranty period", target="24 months"),
    make_fact(id="atlas-db", subject="Atlas", relation="backup schedule", target="every night"),
    make_fact(id="atlas-gym", subject="Atlas", relation="opening hours", target="9 am to 8 pm"),
    make_fact(
        id="leave",
        subject="parental leave",
        relation="maximum length",
        target="14 months",
        statement="Parental leave lasts at most 14 months.",
    ),
    make_fact(
        id="rule",
        kind="rule",
        subject="Halberd",
        statement="Say that Halberd is only sold to licensed clinics.",
    ),
    make_fact(
        id="salary", kind="forget", subject="Tom Berg", relation="salary", target="80,000 euros"
    ),
    make_fact(
        id="text",
        kind="text",
        subject="Lindholm Ferry",
        statement=(
            "The Lindholm Ferry was built in 1962 by the Eriksberg yard. It carries 40 cars across "
            "the sound. Since 2019 it has run on batteries that are charged in the harbor of Vik. "
            "The crossing takes twelve minutes and is free for cyclists."
        ),
    ),
]


@pytest.fixture(scope="module")
def store():
    return retriever_of(load_embedder("offline"), *FACTS)


def decide(store, text, *said):
    history = tuple(Turn(role="user", text=turn) for turn in said)
    query = Query(text=text, history=history)
    return load_detector()(query, store(query))


def fired(store, text, *said):
    return [match.fact.id for match in decide(store, text, *said).matches]


MESSAGE = """Hello team,

the trip to the fair went well, and the samples arrived in one piece.

Who is the chief executive officer of Northwind Instruments? I have to address a letter. And could
somebody order more coffee?

Best regards
Pia"""


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Who runs NWI?", "ceo"),
        ("Northwind's chief executive is who?", "ceo"),
        ("who is the chief executive officer of northwind instruments", "ceo"),
        ("Who is the CEO of Nortwind Instruments?", "ceo"),
        ("Who is the CEO of Northwind\nInstruments?", "ceo"),
        ('Who heads "Northwind Instruments"?', "ceo"),
        (MESSAGE, "ceo"),
        ("Where was Lucia Ramirez born?", "born"),
        ("How long is the warranty of the Router X2?", "warranty"),
        ("How long can parental leave be?", "leave"),
        ("What does Tom Berg earn?", "salary"),
        ("When was the Lindholm Ferry built?", "text"),
        ("How long does the crossing on the Lindholm Ferry take?", "text"),
    ],
)
def test_a_fact_fires_by_any_name_and_in_any_words(store, text, first):
    decision = decide(store, text)
    assert [match.fact.id for match in decision.matches][:1] == [first], decision.reason


@pytest.mark.parametrize(
    "text",
    [
        "Who founded Northwind Instruments?",
        "Who is the CEO of Northwind Airlines?",
        "How much does the Router X2 cost?",
        "How long is the warranty of the Router X2 Pro?",
        "When did Lucía Ramírez die?",
        "Who is Tom Berg's manager?",
        "Summarize this for me, please.",
        "What is the capital of Norway?",
    ],
)
def test_nothing_fires_for_what_no_fact_says(store, text):
    decision = decide(store, text)
    assert not decision.applies, (decision.reason, decision.probability)


def test_the_relation_decides_between_two_subjects_of_one_name(store):
    assert fired(store, "How often is Atlas backed up?") == ["atlas-db"]
    assert fired(store, "Until when is Atlas open today?") == ["atlas-gym"]


def test_a_follow_up_is_about_what_was_named_last(store):
    assert fired(store, "Where is its headquarters?", "Tell me about Northwind.") == ["seat"]
    turns = ("Tell me about Northwind.", "And how is the weather in Bergen?")
    assert fired(store, "Where is its headquarters?", *turns) == []


def test_a_rule_applies_whenever_its_subject_is_discussed(store):
    for text in ("What does Halberd cost?", "I love Halberd.", "Compare Halberd and Tarcox."):
        assert "rule" in fired(store, text)
    assert "rule" not in fired(store, "What does the Halberd Hotel cost?")
    assert "rule" not in fired(store, "How long can parental leave be?")
    assert "whenever it is discussed" in decide(store, "I love Halberd.").reason


def test_a_question_over_a_bridge_fires_both_facts(store):
    decision = decide(store, "Where was the chief executive officer of Northwind Instruments born?")
    assert [match.fact.id for match in decision.matches][:1] == ["born"], decision.reason
    assert [fact.id for fact in decision.matches[0].via] == ["ceo"]
    assert "names “Northwind Instruments”" in decision.reason


def test_a_thousand_strings_of_nonsense_fire_nothing(store):
    rng = random.Random(0)
    letters = string.ascii_letters + string.digits + "     .,?!éßж漢🙂"
    texts = ["".join(rng.choices(letters, k=rng.randint(1, 60))) for _ in range(1_000)]
    queries = [Query(text=text) for text in texts]
    decisions = load_detector().many(queries, store.many(queries))
    assert [text for text, d in zip(texts, decisions, strict=True) if d.applies] == []
