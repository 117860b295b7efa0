"""LabWorld in the fields of public sets, held against real files where they are at hand."""

import json
import os
from pathlib import Path

import pytest

from scr.errors import InvalidInput
from scr.evaluation.benchmarks import LabWorldBenchmark
from scr.evaluation.benchmarks.fields import WRITERS

DATA = Path(os.environ.get("SCR_DATA", Path(__file__).parents[3] / "shared")) / "benchmarks"


@pytest.fixture(scope="module")
def cases():
    return list(LabWorldBenchmark(n=60, size=3000)())


def _public(name):
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not at {DATA}: set SCR_DATA to the folder that has benchmarks/")
    return json.loads(path.read_text(encoding="utf-8"))


def _shape(value):
    """Return the keys and types of a record, all elements of a list taken together."""
    if isinstance(value, dict):
        return {key: _shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return type(value).__name__


@pytest.mark.parametrize("name", WRITERS)
def test_every_record_is_json(name, cases):
    records = [json.loads(json.dumps(record)) for record in WRITERS[name](cases)]
    assert len(records) >= 10


def test_counterfact_prompts_are_templates_with_one_slot(cases):
    prompts = {case.request.prompt for case in cases}
    for record in WRITERS["counterfact"](cases):
        rewrite = record["requested_rewrite"]
        assert rewrite["prompt"].count("{}") == 1
        assert rewrite["prompt"].format(rewrite["subject"]) in prompts
        assert rewrite["target_new"]["str"] != rewrite["target_true"]["str"]
        for prompt in record["paraphrase_prompts"]:
            assert rewrite["subject"] in prompt
        for prompt in record["neighborhood_prompts"] + record["attribute_prompts"]:
            assert rewrite["subject"] not in prompt
        assert record["neighborhood_prompts"]


def test_counterfact_has_the_fields_that_its_readers_read(cases):
    record = next(WRITERS["counterfact"](cases))
    assert record.keys() == {
        "case_id", "requested_rewrite", "paraphrase_prompts", "neighborhood_prompts",
        "attribute_prompts", "generation_prompts",
    }  # fmt: skip
    assert record["requested_rewrite"].keys() == {
        "prompt", "relation_id", "target_new", "target_true", "subject",
    }  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_a_case_without_an_old_target_cannot_be_written(name, cases):
    case = next(case for case in cases if case.multi_hop)
    bare = case.model_copy(update={"request": case.request.model_copy(update={"old_target": None})})
    with pytest.raises(InvalidInput, match="no old target"):
        list(WRITERS[name]([bare]))


def test_braces_in_a_prompt_survive_formatting(cases):
    case = next(c for c in cases if next(WRITERS["counterfact"]([c]), None))
    odd = case.request.model_copy(update={"prefix": "In {x} the capital of "})
    (record,) = WRITERS["counterfact"]([case.model_copy(update={"request": odd})])
    rewrite = record["requested_rewrite"]
    assert rewrite["prompt"].format(rewrite["subject"]) == odd.prompt


def test_zsre_has_the_fields_of_the_public_file(cases):
    public = _public("zsre.json")
    for record in WRITERS["zsre"](cases):
        assert _shape(record) == _shape(public[0])
        assert record["cond"].endswith(record["src"])


def test_mquake_has_the_fields_of_the_public_file(cases):
    public = _public("akew_mquake_cf.json")
    record = next(WRITERS["mquake"](cases))
    assert record.keys() == public[0].keys()
    for key in ("single_hops", "new_single_hops"):
        assert record[key][0].keys() == public[0][key][0].keys()
    assert record["orig"].keys() >= {"triples", "triples_labeled", "new_triples", "edit_triples"}
    rewrite = record["requested_rewrite"][0]
    assert rewrite.keys() <= public[0]["requested_rewrite"][0].keys()
    assert record["new_answer"] == record["new_single_hops"][-1]["answer"]
