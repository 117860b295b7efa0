"""What every registered editor keeps to, whatever its method."""

import pytest
import torch

from scr.editing.adapter import ModelAdapter
from scr.editing.registry import EDITORS
from scr.editing.weights import AppliedEdit
from scr.errors import EditOrder
from tests.editing import tiny
from tests.editing.making import make, make_idle

pytestmark = pytest.mark.parametrize("name", EDITORS)


# mistral, qwen2, qwen3 and gemma are built like llama, and compared with plain loops elsewhere
@pytest.mark.parametrize("architecture", ["gpt2", "gptj", "gpt_neox", "llama", "gemma2", "gemma3"])
def test_the_target_becomes_likelier_and_the_edit_can_be_undone(name, architecture, tokenizer):
    model = tiny.make_model(architecture)
    before, hooks = tiny.weights(model), tiny.hooks(model)
    asked = tiny.REQUESTS[0]
    likely = tiny.nll(model, tokenizer, asked)
    editor = make(name, architecture=architecture, steps=3)
    with editor.apply(model, tokenizer, [asked]) as edit:
        assert tiny.nll(model, tokenizer, asked) < likely
        assert tiny.changed(model, before) == set(edit.deltas) == set(edit.report.changed)
        for parameter, delta in edit.deltas.items():
            torch.testing.assert_close(before[parameter] + delta, model.state_dict()[parameter])
    assert tiny.changed(model, before) == set()
    assert tiny.hooks(model) == hooks
    edit.restore()  # a second time does nothing
    assert tiny.changed(model, before) == set()


def test_only_the_matrices_that_a_method_names_change(name, gpt2, tokenizer):
    editor = make(name)
    before = tiny.weights(gpt2)
    adapter = ModelAdapter(gpt2)
    named = editor.changed_modules(adapter, editor.params_for(adapter.shape))
    editor.apply(gpt2, tokenizer, tiny.REQUESTS[:1])
    assert tiny.changed(gpt2, before) == {adapter.weight_name(module) for module in named}


def test_several_requests_at_once_become_likelier(name, gpt2, tokenizer):
    likely = sum(tiny.nll(gpt2, tokenizer, asked) for asked in tiny.REQUESTS)
    edit = make(name).apply(gpt2, tokenizer, tiny.REQUESTS)
    assert sum(tiny.nll(gpt2, tokenizer, asked) for asked in tiny.REQUESTS) < likely
    assert [line.id for line in edit.report.requests] == ["r1", "r2", "r3"]


def test_nothing_changes_without_steps(name, gpt2, tokenizer):
    before = tiny.weights(gpt2)
    ids = torch.tensor([tokenizer("The capital of Kestria is")["input_ids"]])
    logits = gpt2(ids).logits
    edit = make_idle(name).apply(gpt2, tokenizer, tiny.REQUESTS)
    for parameter, tensor in gpt2.state_dict().items():
        torch.testing.assert_close(tensor, before[parameter], rtol=0, atol=1e-12)
    torch.testing.assert_close(gpt2(ids).logits, logits, rtol=0, atol=1e-10)
    edit.restore()
    assert tiny.changed(gpt2, before) == set()


def test_a_saved_edit_gives_the_same_weights_on_a_fresh_copy(name, tmp_path, tokenizer):
    model = tiny.make_model("gpt2", torch.float32)
    edit = make(name).apply(model, tokenizer, tiny.REQUESTS)
    edit.save(tmp_path)
    fresh = tiny.make_model("gpt2", torch.float32)
    before = tiny.weights(fresh)
    again = AppliedEdit.load(tmp_path).apply(fresh)
    assert tiny.changed(fresh, tiny.weights(model)) == set()
    assert again.report.model_dump_json() == edit.report.model_dump_json()
    again.restore()
    assert tiny.changed(fresh, before) == set()


def test_a_saved_edit_is_refused_on_another_model(name, tmp_path, tokenizer):
    make(name).apply(tiny.make_model("gpt2"), tokenizer, tiny.REQUESTS[:1]).save(tmp_path)
    other = tiny.make_model("gpt2", seed=1)
    before = tiny.weights(other)
    with pytest.raises(EditOrder, match="other weights"):
        AppliedEdit.load(tmp_path).apply(other)
    assert tiny.changed(other, before) == set()


def test_edits_are_undone_in_reverse_order_only(name, gpt2, tokenizer):
    editor = make(name)
    seen, edits = [tiny.weights(gpt2)], []
    for asked in tiny.REQUESTS:
        edits.append(editor.apply(gpt2, tokenizer, [asked]))
        seen.append(tiny.weights(gpt2))
    remembered = editor.state()
    for edit in edits[:2]:
        with pytest.raises(EditOrder):
            edit.restore()
        assert tiny.changed(gpt2, seen[3]) == set()
        assert editor.state().keys() == remembered.keys()
    for edit, left in zip(reversed(edits), reversed(seen[:3]), strict=True):
        edit.restore()
        assert tiny.changed(gpt2, left) == set()


def test_order_is_kept_even_where_an_edit_changes_no_bit(name, gpt2, tokenizer):
    before = tiny.weights(gpt2)
    editor = make_idle(name)
    edits = [editor.apply(gpt2, tokenizer, [asked]) for asked in tiny.REQUESTS[:2]]
    with pytest.raises(EditOrder):
        edits[0].restore()
    for edit in reversed(edits):
        edit.restore()
    assert tiny.changed(gpt2, before) == set()


def test_an_edit_undone_and_made_again_is_the_same(name, gpt2, tokenizer):
    editor = make(name)
    first = editor.apply(gpt2, tokenizer, tiny.REQUESTS[:2])
    first.restore()
    again = editor.apply(gpt2, tokenizer, tiny.REQUESTS[:2])
    for parameter, delta in first.deltas.items():
        assert torch.equal(again.deltas[parameter], delta)


def test_two_editors_in_one_process_do_not_see_each_other(name, tokenizer):
    alone = make(name, steps=2)
    model = tiny.make_model("gpt2")
    wanted = [alone.apply(model, tokenizer, [asked]).deltas for asked in tiny.REQUESTS[:2]]

    other_model, model = tiny.make_model("llama", seed=5), tiny.make_model("gpt2")
    other, editor = make(name, architecture="llama", steps=2), make(name, steps=2)
    found = []
    for asked in tiny.REQUESTS[:2]:
        other.apply(other_model, tokenizer, [tiny.REQUESTS[2]])
        torch.rand(3)  # nothing is drawn from the global generator
        found.append(editor.apply(model, tokenizer, [asked]).deltas)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.keys() == theirs.keys()
        for parameter, delta in theirs.items():
            assert torch.equal(mine[parameter], delta)


def test_an_editor_is_for_one_model(name, gpt2, llama, tokenizer):
    editor = make(name)
    editor.apply(gpt2, tokenizer, tiny.REQUESTS[:1])
    before = tiny.weights(llama)
    with pytest.raises(EditOrder, match="another model"):
        editor.apply(llama, tokenizer, tiny.REQUESTS[:1])
    assert tiny.changed(llama, before) == set()


def test_random_numbers_of_the_program_are_left_alone(name, gpt2, tokenizer):
    torch.manual_seed(11)
    wanted = torch.rand(2)
    torch.manual_seed(11)
    make(name).apply(gpt2, tokenizer, tiny.REQUESTS[:1])
    assert torch.equal(torch.rand(2), wanted)


def test_a_model_in_bfloat16_can_be_edited(name, tokenizer):
    model = tiny.make_model("llama", torch.bfloat16)
    before = tiny.weights(model)
    asked = tiny.REQUESTS[0]
    likely = tiny.nll(model, tokenizer, asked)
    with make(name, architecture="llama").apply(model, tokenizer, [asked]) as edit:
        assert tiny.nll(model, tokenizer, asked) < likely
        assert all(delta.dtype == torch.float32 for delta in edit.deltas.values())
    assert tiny.changed(model, before) == set()


def test_flags_modes_and_gradients_stay_as_they_were(name, gpt2, tokenizer):
    gpt2.train()
    gpt2.transformer.h[1].eval()
    gpt2.transformer.wte.weight.requires_grad_(False)
    modes = [module.training for module in gpt2.modules()]
    flags = [parameter.requires_grad for parameter in gpt2.parameters()]
    make(name).apply(gpt2, tokenizer, tiny.REQUESTS[:1])
    assert [module.training for module in gpt2.modules()] == modes
    assert [parameter.requires_grad for parameter in gpt2.parameters()] == flags
    assert all(parameter.grad is None for parameter in gpt2.parameters())


def test_it_works_where_gradients_are_switched_off(name, tokenizer):
    wanted = make(name).apply(tiny.make_model("gpt2"), tokenizer, tiny.REQUESTS[:1]).deltas
    with torch.no_grad():
        found = make(name).apply(tiny.make_model("gpt2"), tokenizer, tiny.REQUESTS[:1]).deltas
    for parameter, delta in wanted.items():
        assert torch.equal(found[parameter], delta)


def test_each_gives_one_edit_for_every_request(name, gpt2, tokenizer):
    """Also for those that repeat or contradict others: each stands alone."""
    asked = [*tiny.REQUESTS[:2], tiny.REQUESTS[0], tiny.request("r4", target="Tarn")]
    before = tiny.weights(gpt2)
    count = 0
    for one, edit in zip(asked, make(name).each(gpt2, tokenizer, asked), strict=True):
        assert [line.id for line in edit.report.requests] == [one.id]
        if count == 1:
            alone = make(name).apply(tiny.make_model("gpt2"), tokenizer, [one])
            for parameter, delta in alone.deltas.items():
                torch.testing.assert_close(edit.deltas[parameter], delta, rtol=1e-6, atol=1e-9)
        count += 1
    assert count == len(asked)
    assert tiny.changed(gpt2, before) == set()


def test_the_report_says_what_was_done(name, gpt2, tokenizer):
    seen = []
    editor = make(name, canary=tiny.CANARY, observe=lambda *what: seen.append(what), seed=7)
    report = editor.apply(gpt2, tokenizer, tiny.REQUESTS[:2]).report
    assert (report.method, report.seed) == (name, 7)
    assert report.model_hash == report.origin_hash
    assert report.canary.kl >= 0
    assert report.canary.tokens > 0
    assert report.seconds["total"] > 0
    assert report.peak_bytes > 0
    assert report.versions.keys() == {"python", "torch", "transformers"}
    assert all(change > 0 and whole > 0 for change, whole in report.changed.values())
    assert all(0 <= done <= total for _, done, total in seen)
    assert seen
    assert EDITORS[name].summary
