import json

import pytest

from scr.evaluation import selectivity
from scr.retrieval import HashEmbedder


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Forty facts, with a query that each answers and one that it does not."""
    monkeypatch.setattr(selectivity, "load_embedder", lambda _name: HashEmbedder())
    facts = [
        {
            "id": f"f{n}",
            "subject": f"Zanor {n}",
            "prompt": f"Who owns Zanor {n}?",
            "target": "Dana Lee",
            "statement": f"Zanor {n} belongs to Dana Lee.",
        }
        for n in range(40)
    ]
    queries = [
        {"query": query.format(n), "gold": gold, "category": "made", "source": "test"}
        for n in range(40)
        for query, gold in (("Who owns Zanor {}?", [f"f{n}"]), ("Is Borland {} tall?", []))
    ]
    for name, lines in (("facts", facts), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


@pytest.mark.usefixtures("data")
def test_calibrate_writes_a_file_that_the_setting_takes(scr, monkeypatch):
    pytest.importorskip("sklearn", reason="fitting needs scikit-learn")
    ran = scr("--json", "detector", "calibrate", "facts.jsonl", "queries.jsonl", "--out", "c.json")
    assert ran.code == 0, ran.err
    (found,) = ran.json
    assert found["file"] == "c.json"
    assert found["after"]["auroc"] >= 0.9
    assert [each["rate"] for each in found["thresholds"]] == [0.05, 0.1]  # 40 promise no less
    shown = scr("detector", "calibrate", "facts.jsonl", "queries.jsonl", "--out", "c.json")
    assert "max_false_fire_rate" in shown.out
    assert "c.json" in shown.out
    monkeypatch.setenv("SCR_CALIBRATION", "c.json")
    checks = {line["name"]: line for line in scr("--json", "doctor").json}
    assert checks["detector"]["level"] == "ok"
    monkeypatch.setenv("SCR_MAX_FALSE_FIRE_RATE", "0.01")
    checks = {line["name"]: line for line in scr("--json", "doctor").json}
    assert "at least 99" in checks["detector"]["found"]


def test_too_few_queries_are_refused(scr, data):
    lines = (data / "queries.jsonl").read_text().splitlines()
    (data / "queries.jsonl").write_text("\n".join(lines[:20]))
    ran = scr("detector", "calibrate", "facts.jsonl", "queries.jsonl", "--out", "c.json")
    assert ran.code == 2
    assert "too few" in ran.err


@pytest.mark.usefixtures("data")
def test_selectivity_shows_both_figures_with_errata(scr):
    with open("errata.jsonl", "w", encoding="utf-8") as file:
        file.write(json.dumps({"line": 1, "drop": True, "reason": "a test"}))
    command = ("eval", "selectivity", "facts.jsonl", "queries.jsonl", "--out", "p.jsonl")
    ran = scr(*command, "--errata", "errata.jsonl")
    assert ran.code == 0, ran.err
    assert "corrected" in ran.out
    (figures,) = scr("--json", *command, "--errata", "errata.jsonl").json
    assert set(figures["corrected"]) == set(figures) - {"corrected"}
