"""A plan says what an edit then does."""

import pytest

from scr.editing.adapter import Shape
from scr.editing.planning import plan_edit
from scr.editing.presets import origin
from scr.editing.registry import EDITORS, make_editor
from scr.errors import InvalidInput, ModelNotEditable
from tests.editing import making, tiny

QUICK = {"steps": 2}


@pytest.mark.parametrize("name", EDITORS)
def test_what_is_planned_is_what_changes(name, llama, tokenizer):
    before = tiny.weights(llama)
    editor = making.make(name, architecture="llama", **QUICK)
    plan = plan_edit(editor, llama, tokenizer, tiny.REQUESTS)
    assert tiny.changed(llama, before) == set()
    with editor.apply(llama, tokenizer, tiny.REQUESTS) as edit:
        assert {change.name for change in plan.changes} == set(edit.report.changed)
        assert {name: s.value for name, s in plan.settings.items()} == dict(edit.report.params)
    sizes = {n: p.numel() for n, p in llama.named_parameters()}
    share = sum(sizes[change.name] for change in plan.changes) / llama.num_parameters()
    assert plan.share == pytest.approx(share)
    assert plan.seconds > 0
    assert plan.bytes > 0
    assert plan.requests == len(tiny.REQUESTS)


def test_a_plan_works_for_any_architecture(architecture, tokenizer):
    model = tiny.make_model(architecture)
    plan = plan_edit(
        making.make("memit", architecture=architecture), model, tokenizer, tiny.REQUESTS
    )
    assert all(change.name.endswith("weight") for change in plan.changes)


def test_it_says_where_settings_come_from(gpt2, tokenizer):
    editor = making.make("ft-m", steps=2, layers=(1,))
    plan = plan_edit(editor, gpt2, tokenizer, tiny.REQUESTS, given={"layers": "the card"})
    sources = {name: setting.source for name, setting in plan.settings.items()}
    assert sources["steps"] == "given"
    assert sources["layers"] == "the card"
    assert sources["rate"] == "the method's own"
    plan = plan_edit(make_editor("ft-m"), gpt2, tokenizer, tiny.REQUESTS)
    assert plan.settings["layers"].source.startswith("by family and depth")
    assert origin("rome", Shape("gpt2", 48, 1600)) == "published for this model"
    assert origin("locft-bf", Shape("gpt2", 48, 1600)).startswith("by family and depth")


def test_more_work_takes_longer(llama, tokenizer):
    few, many = (
        plan_edit(making.make("ft-m", steps=steps), llama, tokenizer, tiny.REQUESTS).seconds
        for steps in (1, 10_000)
    )
    assert many > few


def test_second_moments_are_found_in_the_cache(gpt2, tokenizer, tmp_path):
    def plan(**options):
        return plan_edit(making.make("memit", **options), gpt2, tokenizer, tiny.REQUESTS)

    editor = making.make("memit", cache=tmp_path, **QUICK)
    assert plan(cache=tmp_path).moments == {1: "to be collected", 2: "to be collected"}
    with editor.apply(gpt2, tokenizer, tiny.REQUESTS):
        pass
    assert plan(cache=tmp_path).moments == {1: "cached", 2: "cached"}
    assert plan(cache=tmp_path, layers=(2, 3)).moments == {2: "cached", 3: "to be collected"}
    assert plan(moments=editor.moments).moments == {1: "given", 2: "given"}
    assert "give more text" in plan().notes[0]
    assert plan(cache=tmp_path).notes == ()


def test_what_cannot_be_is_told_before(gpt2, tokenizer):
    with pytest.raises(InvalidInput, match="needs second moments"):
        plan_edit(make_editor("memit", layers=(1,)), gpt2, tokenizer, tiny.REQUESTS)
    with pytest.raises(ModelNotEditable, match="layers 0 to 3"):
        plan_edit(making.make("ft-m", layers=(9,)), gpt2, tokenizer, tiny.REQUESTS)
    rival = tiny.request("r9", target="Arosa")
    with pytest.raises(InvalidInput, match="contradict"):
        plan_edit(making.make("ft-m"), gpt2, tokenizer, [*tiny.REQUESTS, rival])
