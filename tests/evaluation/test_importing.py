"""Facts from files, told apart by name and content; edit sets in their own fields."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.errors import InvalidInput
from scr.evaluation.benchmarks import LabWorldBenchmark
from scr.evaluation.benchmarks.fields import WRITERS
from scr.evaluation.benchmarks.reading import reader_of
from scr.evaluation.importing import read_facts, read_labels

DATA = Path(os.environ.get("SCR_DATA", Path(__file__).parents[3] / "shared")) / "benchmarks"
FACT = {"id": "a", "subject": "Peru", "relation": "capital", "target": "Lima"}
FLAT = {
    "case_id": 7, "prompt": "The seat of Peru is", "target_new": "Cuzco", "subject": "Peru",
    "ground_truth": "Lima", "rephrase_prompt": "Peru is governed from",
    "locality_prompt": "The seat of Chile is", "locality_ground_truth": "Santiago",
}  # fmt: skip


def read_one(content, name):
    pack = read_facts(content if isinstance(content, bytes) else content.encode(), name)
    assert pack.problems == []
    (line,) = pack.lines
    return line.fact


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (json.dumps(FACT), "x.jsonl"),
        (f"# a pack\n\n{json.dumps(FACT)}\n", "x.jsonl"),
        (json.dumps(FACT), "x.json"),
        (json.dumps(FACT, indent=1), "x.json"),
        (json.dumps(FACT, indent=1), "upload"),
        (json.dumps([FACT], indent=1), "x.json"),
        (json.dumps([FACT]), "upload"),
        ("id,subject,relation,target\na,Peru,capital,Lima\n", "x.CSV"),
        ("id\tsubject\trelation\ttarget\na\tPeru\tcapital\tLima\n", "x.tsv"),
        ("- {id: a, subject: Peru, relation: capital, target: Lima}", "x.yml"),
    ],
)
def test_a_fact_is_read_from_any_format(content, name):
    fact = read_one(content, name)
    assert (fact.id, fact.statement) == ("a", "The capital of Peru is Lima.")


def test_a_record_of_a_set_becomes_a_fact_with_tests():
    for content, name in (
        (json.dumps(FLAT), "x.jsonl"),
        (json.dumps([FLAT]), "x.json"),
        (json.dumps(FLAT, indent=1), "x"),
    ):
        fact = read_one(content, name)
        assert (fact.subject, fact.target) == ("Peru", "Cuzco")
        assert fact.statement == "The seat of Peru is Cuzco."
        assert fact.questions == ("The seat of Peru is",)
        assert fact.must_fire == ("Peru is governed from",)
        assert fact.must_not_fire == ("The seat of Chile is",)


def test_relation_ids_of_a_set_are_called_by_their_labels():
    record = {**FLAT, "relation_id": "P36"}
    (line,) = read_facts(json.dumps([record]).encode(), "x.json", labels={"P36": "capital"}).lines
    assert line.fact.relation == "capital"


@pytest.fixture(scope="module")
def cases():
    return list(LabWorldBenchmark(n=40, size=3000)())


@pytest.mark.parametrize("name", ["counterfact", "zsre"])
def test_what_is_written_in_the_fields_of_a_set_is_read_again(cases, name):
    records = [json.loads(json.dumps(record)) for record in WRITERS[name](cases)]
    read = [reader_of(record)(record, str(n)) for n, record in enumerate(records)]
    assert [json.loads(json.dumps(record)) for record in WRITERS[name](map(_whole, read))] == (
        [_without_lost(record) for record in records]
    )


def _whole(case):
    """Give the neighbors of a case back whom they are about: the prompt says so."""
    request = case.request

    def about(probe):
        end = len(probe.text) - len(request.suffix)
        return probe.model_copy(update={"subject": probe.text[len(request.prefix) : end]})

    return case.model_copy(
        update={name: tuple(map(about, getattr(case, name)))
                for name in ("other_subject", "same_target")}
    )  # fmt: skip


def _without_lost(record):
    """Leave out what a case has no place for: the prompt of a biography."""
    return {**record, **({"generation_prompts": []} if "generation_prompts" in record else {})}


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"requested_rewrite": [1]}, "no object"),
        ({"requested_rewrite": {"subject": "x", "prompt": "no place"}}, "no place {}"),
        ({**FLAT, "target_new": ""}, "no target_new"),
        ({**FLAT, "target_new": 5}, "target_new is no text"),
        ({"src": "Who?", "alt": "x", "subject": ["y"]}, "subject is no text"),
        ({"colour": "red"}, "colour"),
        (5, "no fact"),
    ],
)
def test_records_that_hold_no_case_are_named(record, problem):
    pack = read_facts(json.dumps([FACT, record]).encode(), "x.json")
    assert [line.number for line in pack.lines] == [1]
    ((number, reason),) = pack.problems
    assert number == 2
    assert problem in reason


@pytest.mark.parametrize(
    ("content", "name", "number"),
    [
        (b"[1,\n2,\n", "x.json", 3),
        (b'[\n"\xff"]', "x.json", 2),
        (b"{", "x.json", 1),
        (json.dumps(FLAT).encode() + b"\n{\n", "x.jsonl", 2),
        (b"[" * 100_000, "x.json", 1),
    ],
)
def test_broken_json_is_named_by_its_line(content, name, number):
    assert [place for place, _ in read_facts(content, name).problems] == [number]


@given(
    st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "ignore"))
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["id", "claims", "labels", "entities", "aliases", "mainsnak", "src",
                             "alt", "subject", "prompt", "target_new", "requested_rewrite"]),
            inner, max_size=4),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["x.json", "x.jsonl", "x.csv", "x.yaml", "x"]),
)  # fmt: skip
@settings(deadline=None, max_examples=300)
def test_any_bytes_can_be_read(content, name):
    for number, reason in read_facts(content, name).problems:
        assert number >= 1
        assert reason


def test_labels():
    assert read_labels(b'\xef\xbb\xbf{"P36": "capital"}', "l.json") == {"P36": "capital"}
    for content in (b"[]", b'{"P36": 1}', b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(InvalidInput, match="holds no"):
            read_labels(content, "l.json")


@pytest.mark.parametrize("name", ["counterfact.json", "zsre.json"])
def test_public_files_are_read_whole(name):
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not at {DATA}: set SCR_DATA to the folder that has benchmarks/")
    content = path.read_bytes()
    pack = read_facts(content, name)
    assert pack.problems == []
    assert len(pack.lines) == len(json.loads(content))
    assert all(line.fact.must_fire and line.fact.must_not_fire for line in pack.lines)
