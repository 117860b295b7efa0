import json
import random
from pathlib import Path

import pytest

from scr.errors import InvalidInput
from scr.evaluation import selectivity
from scr.evaluation.selectivity import (
    Case,
    find_candidates,
    read_cases,
    read_errata,
    read_facts,
    run_selectivity,
    score,
)
from scr.records import Decision, Query
from scr.retrieval import HashEmbedder
from scr.retrieval.embedders import OFFLINE_PACKAGE

SUBJECTS = ("Zanor Group", "Norburg Bank", "Elena Novak", "Corsal Pro", "Halquin Hall")


@pytest.fixture
def files(tmp_path):
    """A small set in the benchmark's format: forty facts, two queries about each."""
    facts, queries = [], []
    for number in range(40):
        subject = f"{SUBJECTS[number % 5]} {number}"
        question = f"Who owns {subject}?"
        facts.append(
            {
                "id": f"f{number}",
                "subject": subject,
                "prompt": question,
                "target": "Dana Lee",
                "statement": f"{question} Dana Lee",
            }
        )
        queries.append(
            {
                "query": f"who is the owner of {subject}",
                "gold": [f"f{number}"],
                "category": "paraphrase",
                "source": "made",
            }
        )
        queries.append(
            {
                "query": f"How tall is {subject}?",
                "gold": [],
                "category": "other_relation",
                "source": "made",
                "history": [],
            }
        )
    for name, lines in (("facts", facts), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return tmp_path / "facts.jsonl", tmp_path / "queries.jsonl", tmp_path / "out.jsonl"


@pytest.fixture
def hashed(monkeypatch):
    monkeypatch.setattr(selectivity, "load_embedder", lambda _name: HashEmbedder())


@pytest.mark.parametrize("folds", [None, 3])
@pytest.mark.usefixtures("hashed")
def test_a_run_writes_a_prediction_for_each_query(files, folds):
    facts, queries, out = files
    done = []
    scores, corrected = run_selectivity(
        facts, queries, out, folds=folds, progress=lambda count, total: done.append((count, total))
    )
    assert corrected is None
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 80
    assert done[-1] == (80, 80)
    assert all(set(line) == {"fired", "p"} and 0 <= line["p"] <= 1 for line in lines)
    assert 0 <= scores.balanced <= 1


@pytest.mark.usefixtures("hashed")
def test_cross_validation_learns_what_the_set_asks(files):
    facts, queries, out = files
    run = run_selectivity(facts, queries, out, folds=4)
    assert run.scores.balanced > 0.9


@pytest.mark.usefixtures("hashed")
def test_errata_correct_labels_and_leave_queries_out(files, tmp_path):
    facts, queries, out = files
    errata = tmp_path / "errata.jsonl"
    plain = run_selectivity(facts, queries, out).scores
    lines = [
        {"line": 1, "gold": [], "reason": "the other way round"},
        {"line": 2, "gold": ["f0"], "reason": "the other way round"},
        {"line": 3, "drop": True, "reason": "no question"},
    ]
    errata.write_text("\n".join(json.dumps(line) for line in lines))
    run = run_selectivity(facts, queries, out, errata=errata)
    assert run.scores == plain
    assert run.corrected is not None
    assert run.corrected != plain


@pytest.mark.parametrize(
    "line",
    [
        {"line": 0, "gold": [], "reason": "x"},
        {"line": 81, "gold": [], "reason": "x"},
        {"line": 1, "gold": []},
        {"line": 1, "reason": "x"},
        {"line": 1, "gold": [], "drop": True, "reason": "x"},
    ],
)
def test_errata_that_cannot_be_used_are_named(tmp_path, line):
    path = tmp_path / "errata.jsonl"
    path.write_text(json.dumps(line))
    with pytest.raises(InvalidInput, match="line 1"):
        read_errata(path, 80)


def test_our_errata_can_be_read(public_data):
    queries = read_cases(public_data / "selectivity" / "queries.jsonl")
    facts = {fact.id for fact in read_facts(public_data / "selectivity" / "facts.jsonl")}
    ours = Path(__file__).parents[2] / "eval" / "selectivity" / "errata.jsonl"
    mended = read_errata(ours, len(queries))
    assert len(mended) > 10
    for number, gold in mended.items():
        assert gold is None or (gold <= facts and gold != queries[number].gold)


def test_facts_without_a_subject_are_texts(tmp_path):
    path = tmp_path / "facts.jsonl"
    line = {
        "id": "t",
        "subject": "",
        "prompt": "Where was Wei Petrov born?",
        "target": "x" * 2_000,
        "statement": "Wei Petrov was born in Norburg.",
    }
    path.write_text(json.dumps(line))
    (fact,) = read_facts(path)
    assert (fact.kind, fact.target, fact.questions) == ("text", "", ("Where was Wei Petrov born?",))


@pytest.mark.parametrize(
    ("line", "reason"),
    [("{", "line 2: no JSON"), ("[]", "line 2: no JSON object"), ("{}", "line 2: lacks")],
)
def test_a_bad_line_is_named(tmp_path, line, reason):
    path = tmp_path / "queries.jsonl"
    good = {"query": "q", "gold": [], "category": "c", "source": "s"}
    path.write_text(f"{json.dumps(good)}\n{line}\n")
    with pytest.raises(InvalidInput, match=reason):
        read_cases(path)


def test_validities_and_the_day_of_asking_are_read(tmp_path):
    facts, queries = tmp_path / "facts.jsonl", tmp_path / "queries.jsonl"
    fact = {"subject": "Acme", "target": "Kim Roe", "statement": "Kim Roe runs Acme."}
    facts.write_text(json.dumps(fact | {"id": "a", "validity": {"start": "2020-01-01"}}))
    (read,) = read_facts(facts)
    assert (read.validity.start.year, read.validity.end) == (2020, None)

    line = {"query": "Who runs Acme?", "gold": ["a"], "category": "c", "source": "s"}
    lines = [
        line,
        line | {"valid_at": "2021-05-01"},
        line | {"valid_at": "2021-05-01", "query": "Who ran Acme in 2015?"},
    ]
    queries.write_text("\n".join(map(json.dumps, lines)))
    times = [case.query.valid_at for case in read_cases(queries)]
    assert times[0] is None
    assert [time.date().isoformat() for time in times[1:]] == ["2021-05-01", "2015-12-31"]

    queries.write_text(json.dumps(line | {"valid_at": "soon"}))
    with pytest.raises(InvalidInput, match="line 1: valid_at is no date"):
        read_cases(queries)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_facts(tmp_path / "nothing.jsonl")


def decision(probability, fired=()):
    from scr.facts import make_fact
    from scr.records import Evidence, Match

    matches = tuple(
        Match(
            fact=make_fact(id=identity, statement="s"),
            probability=probability,
            evidence=Evidence(mention=None, key="k"),
        )
        for identity in fired
    )
    return Decision(
        applies=bool(fired),
        matches=matches,
        probability=probability,
        reason="r",
        threshold=0.5,
        detector="test",
    )


def test_scores_by_hand():
    cases = [
        Case(Query(text="1"), frozenset({"a"}), "s/hit"),
        Case(Query(text="2"), frozenset({"b"}), "s/hit"),
        Case(Query(text="3"), frozenset(), "s/none"),
        Case(Query(text="4"), frozenset(), "s/none"),
    ]
    scores = score(
        cases,
        [decision(0.9, ["a", "x"]), decision(0.4), decision(0.1), decision(0.4)],
    )
    assert (scores.hit, scores.abstain, scores.balanced) == (0.5, 1.0, 0.75)
    assert scores.extra == 0.5
    assert scores.auroc == pytest.approx(3.5 / 4)
    assert scores.ece == pytest.approx((0.1 + 0.2 + 0.1) / 4)
    assert (scores.worst, scores.worst_category) == (0.5, "s/hit")


def test_the_shipped_detector_on_a_sample_of_the_set(public_data):
    """In-sample, as the shipped detector was fitted on this set too: a check of the plumbing."""
    folder = public_data / "selectivity"
    pytest.importorskip(OFFLINE_PACKAGE, reason="needs the offline extra")
    from scr.detection import load_detector
    from scr.retrieval import load_embedder

    rng = random.Random(0)
    facts = rng.sample(read_facts(folder / "facts.jsonl"), 120)
    ids = {fact.id for fact in facts}
    cases = read_cases(folder / "queries.jsonl")
    asked = [case for case in cases if case.gold & ids]
    chosen = [*rng.sample(asked, 100), *rng.sample([c for c in cases if not c.gold], 100)]
    found = find_candidates(facts, chosen, load_embedder("offline"))
    detector = load_detector()
    decisions = [detector(case.query, f) for case, f in zip(chosen, found, strict=True)]
    assert score(chosen, decisions).balanced > 0.93
