import random
import string
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scr.detection import Recalibration, TreeDetector, features, load_detector
from scr.detection.detector import shipped_weights
from scr.detection.features import NAMES, READ_NAMES, measure, with_readings
from scr.detection.reader import OverlapReader
from scr.errors import InvalidInput
from scr.facts import Revision, make_fact
from scr.records import Query, Turn
from scr.retrieval import HashEmbedder, Retriever, load_embedder
from scr.retrieval.embedders import OFFLINE_PACKAGE

COMPANY = {"subject": "Company X", "relation": "chief executive officer", "target": "Dana Lee"}


def retriever_of(embedder, *facts):
    retriever = Retriever(embedder)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    retriever.follow(
        [
            Revision(
                sequence=number,
                fact=fact,
                action="add",
                previous_status=None,
                status="approved",
                at=now,
                by="test",
            )
            for number, fact in enumerate(facts, 1)
        ],
        len(facts),
    )
    return retriever


@pytest.fixture(scope="module")
def hashed():
    return retriever_of(HashEmbedder(), make_fact(**COMPANY))


@pytest.fixture(scope="module")
def embedder():
    pytest.importorskip(OFFLINE_PACKAGE, reason="needs the offline extra")
    return load_embedder("offline")


@pytest.fixture(scope="module")
def one_fact(embedder):
    return retriever_of(embedder, make_fact(**COMPANY))


@pytest.fixture(scope="module")
def dozen(embedder):
    facts = [
        make_fact(**COMPANY),
        make_fact(subject="Company X", relation="headquarters location", target="Norburg"),
        make_fact(subject="China", relation="capital", target="Beijing"),
        make_fact(subject="Zanor Group", relation="founder", target="Wei Petrov"),
        make_fact(subject="Travel Expense Policy", relation="limit", target="$400"),
        make_fact(subject="Dana Lee", relation="place of birth", target="Halstad"),
    ]
    return retriever_of(embedder, *facts)


def decide(retriever, text, history=(), **detector):
    query = Query(text=text, history=history)
    return load_detector(**detector)(query, retriever(query))


@pytest.mark.parametrize(
    "text",
    [
        "Who runs Company X these days?",
        "Who is the CEO of Company X?",
        "who is the chief executive officer of company x",
        "Who is the chief executive officer of Compny X?",
        "I have a meeting at nine. Who is the CEO of Company X? Thanks!",
    ],
)
def test_the_single_fact_fires_when_it_is_asked_for(one_fact, text):
    decision = decide(one_fact, text)
    assert decision.applies, decision.reason
    assert decision.matches[0].fact.target == "Dana Lee"
    assert decision.matches[0].probability >= decision.threshold


@pytest.mark.parametrize(
    "text",
    [
        "Where is Company X based?",
        "How many employees does Company X have?",
        "Who is the CEO of Borland Media?",
        "What is the capital of France?",
        "Write a poem about autumn.",
        "hello",
    ],
)
def test_the_single_fact_does_not_fire_for_anything_else(one_fact, text):
    decision = decide(one_fact, text)
    assert not decision.applies, (decision.reason, decision.probability)


def test_the_relation_decides_among_facts_of_one_subject(dozen):
    asked = decide(dozen, "Who is the chief executive of Company X?")
    assert [match.fact.target for match in asked.matches] == ["Dana Lee"]
    asked = decide(dozen, "In which city is Company X headquartered?")
    assert [match.fact.target for match in asked.matches] == ["Norburg"]


def test_a_follow_up_fires_by_its_history(dozen):
    history = (Turn(role="user", text="Tell me about Zanor Group."),)
    decision = decide(dozen, "Who founded it?", history)
    assert [match.fact.target for match in decision.matches] == ["Wei Petrov"]
    assert "earlier turn" in decision.reason
    assert not decide(dozen, "Who founded it?").applies


def test_nonsense_fires_nothing(dozen):
    rng = random.Random(0)
    letters = string.ascii_letters + string.digits + "     .,?!éßж漢🙂"
    texts = ["".join(rng.choices(letters, k=rng.randint(1, 40))) for _ in range(200)]
    queries = [Query(text=text) for text in texts]
    detector = load_detector()
    fired = [
        query.text
        for query, found in zip(queries, dozen.many(queries), strict=True)
        if detector(query, found).applies
    ]
    assert fired == []


def test_no_candidates_are_no_matches():
    decision = load_detector()(Query(text="Who runs Company X?"), [])
    assert (decision.applies, decision.matches, decision.probability) == (False, (), 0.0)
    assert decision.runner_up is None


def test_the_evidence_says_why(hashed):
    decision = decide(hashed, "Who is the chief executive officer of Company X?", threshold=0.01)
    match = decision.matches[0]
    assert match.evidence.mention is not None
    assert match.evidence.mention.text == "Company X"
    assert match.evidence.key == "What is the chief executive officer of Company X?"
    shares = list(match.evidence.contributions.items())
    assert {name for name, _ in shares} <= set(READ_NAMES)
    assert [abs(share) for _, share in shares] == sorted(
        (abs(share) for _, share in shares), reverse=True
    )
    assert "“Company X”" in decision.reason


def test_a_refused_fact_is_the_runner_up(hashed):
    decision = decide(hashed, "Who is the chief executive officer of Company X?", threshold=0.9999)
    assert not decision.applies
    assert decision.runner_up is not None
    assert decision.runner_up.fact.subject == "Company X"
    assert decision.probability == decision.runner_up.probability


def test_max_facts_bounds_the_matches(embedder):
    facts = [
        make_fact(id=f"f{n}", **(COMPANY | {"target": f"Person {n}", "scope": "default"}))
        for n in range(5)
    ]
    store = retriever_of(embedder, *facts)
    assert (
        len(decide(store, "Who is the CEO of Company X?", max_facts=2, threshold=0.01).matches) == 2
    )


def test_a_decision_is_a_pure_function(hashed):
    query = Query(text="Who runs Company X?")
    found = hashed(query)
    assert load_detector()(query, found) == load_detector()(query, list(found))


@given(st.text(max_size=200), st.text(max_size=80))
def test_any_text_can_be_decided(hashed_texts, text, said):
    query = Query(text=text, history=(Turn(role="user", text=said),))
    decision = load_detector()(query, hashed_texts(query))
    assert 0 <= decision.probability <= 1
    assert decision.reason


@pytest.fixture(scope="module")
def hashed_texts():
    return retriever_of(
        HashEmbedder(),
        make_fact(statement="Birds fly south. They return in spring.", kind="text"),
        make_fact(subject="ACME", kind="rule", statement="Always mention the phone line."),
        make_fact(**COMPANY),
    )


def test_every_feature_is_a_finite_number(hashed_texts):
    query = Query(text="What is the owner of Company X, 12 Norburg Street?")
    rows = measure(query, hashed_texts(query))
    assert rows.shape[1] == len(NAMES)
    assert ((rows > -100) & (rows < 100)).all()


def test_weights_of_other_features_are_refused():
    weights = shipped_weights()
    with pytest.raises(InvalidInput, match="train_detector"):
        TreeDetector({**weights, "features": weights["reading"]})
    with pytest.raises(InvalidInput, match="train_detector"):
        TreeDetector({**weights, "reading": weights["features"]}, reader=OverlapReader())


def test_without_a_reader_the_features_alone_decide(hashed):
    alone = decide(hashed, "Who runs Company X?", reader=False, threshold=0.001)
    assert set(alone.matches[0].evidence.contributions) <= set(NAMES)
    assert alone.detector != decide(hashed, "Who runs Company X?").detector


def test_only_what_is_possible_is_read(hashed):
    asked = []

    class Noting(OverlapReader):
        def __call__(self, pairs):
            asked.extend(pairs)
            return super().__call__(pairs)

    detector = TreeDetector(shipped_weights(), reader=Noting())
    detector(Query(text="Who is the chief executive officer of Company X?"), [])
    assert asked == []
    query = Query(text="Who is the chief executive officer of Company X?")
    detector(query, hashed(query))
    (pair,) = asked
    assert pair == (
        "Who is the chief executive officer of it?",
        "What is the chief executive officer of it? The chief executive officer of it is Dana Lee.",
    )


def test_margins_of_readings_are_over_the_same_query():
    rows = np.zeros((4, len(NAMES)))
    queries, subjects = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 0])
    readings = np.array([3.0, 1.0, -2.0, 100.0])
    read = with_readings(rows, readings, queries, subjects)
    assert read.shape == (4, len(READ_NAMES))
    assert read[:, len(NAMES)].tolist() == [3, 1, -2, 8]
    assert read[:, len(NAMES) + 1].tolist() == [2, -2, 8, 8]
    assert read[:, len(NAMES) + 2].tolist() == [5, 3, -5, 8]


def test_the_shipped_weights_carry_their_card():
    card = shipped_weights()["card"]
    assert card["command"].startswith("python scripts/train_detector.py")
    assert card["queries"]["made"] > 1_000


def test_long_texts_are_measured_but_not_kept(hashed_texts):
    kept = (features._stems_kept, features._asks_for_kept)
    sizes = [cache.cache_info().currsize for cache in kept]
    long = "when do rivers freeze " * 1_000
    assert features.stems(long) == {"river", "freeze"} == features.stems(long[:300])
    assert features.asks_for(long) == "time" == features.asks_for(long[:300])
    after = [cache.cache_info().currsize for cache in kept]
    assert all(b - a <= 1 for a, b in zip(sizes, after, strict=True))


@pytest.mark.parametrize("text", ["Company X? ", "What Foo Bar ", "how ", "東京は。", "it "])
def test_a_megabyte_can_be_decided(hashed_texts, text):
    query = Query(text=text * (1_000_000 // len(text)))
    assert load_detector()(query, hashed_texts(query)).reason


@pytest.mark.parametrize("reader", [True, False])
def test_a_lower_rate_of_false_fires_asks_for_a_higher_threshold(reader):
    thresholds = [
        load_detector(max_false_fire_rate=rate, reader=reader).threshold
        for rate in (0.2, 0.05, 0.02, 0.005)
    ]
    assert thresholds == sorted(thresholds)
    assert 0 < thresholds[0] < thresholds[-1] <= 1
    with pytest.raises(InvalidInput, match="not both"):
        load_detector(0.5, max_false_fire_rate=0.02)


def test_a_calibration_of_another_detector_is_refused():
    made = Recalibration(embedder="model", detector="trees-2+reader", answered=20, unanswered=())
    assert load_detector(recalibration=made).name == made.detector
    with pytest.raises(InvalidInput, match="make it anew"):
        load_detector(recalibration=made, reader=False)
