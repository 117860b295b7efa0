"""Edits in sequence: many small ones, and going on where another process left off."""

import pytest
import torch

from scr.editing.adapter import ModelAdapter
from scr.editing.moments import collect_moments
from scr.editing.registry import EDITORS
from scr.editing.weights import AppliedEdit, WeightChange, fingerprint
from scr.errors import EditFailed, EditOrder, InvalidInput
from tests.editing import tiny
from tests.editing.making import make


@pytest.fixture
def moments(tokenizer):
    adapter = ModelAdapter(tiny.make_model("gpt2"))
    return collect_moments(adapter, tokenizer, tiny.CORPUS, range(tiny.DEPTH), model_hash="")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", EDITORS)
def test_it_goes_on_from_what_was_saved(name, dtype, tmp_path, moments, tokenizer):
    """As if it had never stopped, to the bit, also where float32 masters hold what bf16 cannot."""
    model = tiny.make_model("gpt2", dtype)
    origin = fingerprint(model)
    editor = make(name, moments=moments, steps=2)
    for number, asked in enumerate(tiny.REQUESTS[:2]):
        editor.apply(model, tokenizer, [asked]).save(tmp_path / str(number))
    last = editor.apply(model, tokenizer, tiny.REQUESTS[2:])

    fresh = tiny.make_model("gpt2", dtype)
    before = tiny.weights(fresh)
    put_on = [AppliedEdit.load(tmp_path / str(number)).apply(fresh) for number in range(2)]
    resumed = make(name, moments=moments, steps=2)
    resumed.resume(AppliedEdit.load(tmp_path / "1"))
    again = resumed.apply(fresh, tokenizer, tiny.REQUESTS[2:])
    assert again.report.origin_hash == last.report.origin_hash == origin
    assert tiny.changed(fresh, tiny.weights(model)) == set()
    for one, other in ((again.state, last.state), (again.deltas, last.deltas)):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    for edit in (again, *reversed(put_on)):
        edit.restore()
    assert tiny.changed(fresh, before) == set()


def test_saved_edits_are_put_on_in_order(tmp_path, tokenizer):
    model = tiny.make_model("gpt2")
    editor = make("ft-m")
    for number, asked in enumerate(tiny.REQUESTS[:2]):
        editor.apply(model, tokenizer, [asked]).save(tmp_path / str(number))
    fresh = tiny.make_model("gpt2")
    with pytest.raises(EditOrder, match="other weights"):
        AppliedEdit.load(tmp_path / "1").apply(fresh)
    first = AppliedEdit.load(tmp_path / "0").apply(fresh)
    AppliedEdit.load(tmp_path / "1").apply(fresh)
    with pytest.raises(EditOrder, match="undo what was done after"):
        first.restore()


def test_an_edit_can_be_saved_after_it_was_undone(tmp_path, gpt2, tokenizer):
    with make("ft-m").apply(gpt2, tokenizer, tiny.REQUESTS[:1]) as edit:
        edited = tiny.weights(gpt2)
    edit.save(tmp_path)
    AppliedEdit.load(tmp_path).apply(gpt2)
    assert tiny.changed(gpt2, edited) == set()


@pytest.mark.parametrize("lost", ["edit.json", "weights.safetensors"])
def test_a_damaged_edit_is_told(lost, tmp_path, gpt2, tokenizer):
    make("alphaedit").apply(gpt2, tokenizer, tiny.REQUESTS[:1]).save(tmp_path)
    (tmp_path / lost).write_bytes(b"\x07")
    with pytest.raises(InvalidInput, match="holds no whole edit"):
        AppliedEdit.load(tmp_path)
    with pytest.raises(InvalidInput, match="holds no whole edit"):
        AppliedEdit.load(tmp_path / "nowhere")


def test_another_method_cannot_go_on(tmp_path, gpt2, tokenizer):
    make("memit").apply(gpt2, tokenizer, tiny.REQUESTS[:1]).save(tmp_path)
    with pytest.raises(InvalidInput, match="by memit, not alphaedit"):
        make("alphaedit").resume(AppliedEdit.load(tmp_path))


def test_moments_are_never_taken_from_an_edited_model(tmp_path, gpt2, tokenizer):
    make("memit-seq").apply(gpt2, tokenizer, tiny.REQUESTS[:1]).save(tmp_path)
    editor = make("memit-seq")
    editor.resume(AppliedEdit.load(tmp_path))
    before = tiny.weights(gpt2)
    with pytest.raises(InvalidInput, match="moments of the unedited model"):
        editor.apply(gpt2, tokenizer, tiny.REQUESTS[1:])
    assert tiny.changed(gpt2, before) == set()


def test_many_tiny_changes_add_up_in_bfloat16():
    """Rounded each time they would be lost; only what is written is rounded."""
    model = tiny.make_model("llama", torch.bfloat16)
    name = "model.layers.1.mlp.down_proj.weight"
    module = model.model.layers[1].mlp.down_proj
    wide = module.weight.detach().float().clone()
    start = module.weight.detach().clone()
    step = 2e-5 * torch.randn(wide.shape, generator=torch.Generator().manual_seed(0)).sign()
    masters, rounded = {}, start.clone()
    changes = []
    for _ in range(200):
        change = WeightChange(model, masters)
        change.add(name, module, step)
        changes.append(change)
        wide = wide + step
        rounded = rounded + step.to(torch.bfloat16)
    assert torch.equal(module.weight, wide.to(torch.bfloat16))
    assert (rounded.float() - wide).norm() > 10 * (module.weight.float() - wide).norm()
    for change in reversed(changes):
        change.undo()
    assert torch.equal(module.weight, start)
    assert masters == {}


@pytest.mark.parametrize("name", ["ft-m", "rome", "memit"])
def test_an_edit_in_bfloat16_is_rounded_once(name, tokenizer):
    """What the report says was added is what was added, before rounding."""
    model = tiny.make_model("llama", torch.bfloat16)
    editor = make(name)
    start = tiny.weights(model)
    edits = [editor.apply(model, tokenizer, [asked]) for asked in tiny.REQUESTS]
    for parameter in edits[0].deltas:
        total = start[parameter].float() + sum(edit.deltas[parameter] for edit in edits)
        found = model.get_parameter(parameter).detach().float()
        near = torch.finfo(torch.bfloat16).eps * total.abs().clamp(min=1e-3)
        assert ((found - total).abs() <= near).all()


def test_what_others_change_in_between_is_not_lost(tokenizer):
    """A master copy that no longer fits the weights is not used."""
    model = tiny.make_model("llama", torch.bfloat16)
    editor = make("ft-m", steps=1)
    editor.apply(model, tokenizer, tiny.REQUESTS[:1])
    parameter = model.get_parameter("model.layers.1.mlp.down_proj.weight")
    with torch.no_grad():
        parameter.mul_(2)
    doubled = parameter.detach().clone()
    edit = editor.apply(model, tokenizer, tiny.REQUESTS[1:2])
    assert (parameter.float() - doubled.float()).abs().max() < 0.1 * doubled.float().abs().max()
    edit.restore()
    assert torch.equal(parameter, doubled)


@pytest.mark.parametrize("first", [torch.float32, torch.bfloat16])
def test_a_weight_that_would_not_be_finite_is_refused(first):
    model = tiny.make_model("llama", first)
    before = tiny.weights(model)
    change = WeightChange(model, {})
    module = model.model.layers[0].mlp.down_proj
    with pytest.raises(EditFailed, match="not finite"):
        change.add("model.layers.0.mlp.down_proj.weight", module, torch.full((1,), float("inf")))
    assert tiny.changed(model, before) == set()
