"""LoRA: what is trained beside the weights is what is added to them."""

import pytest
import torch

from scr.editing import make_editor
from scr.editing.adapter import ModelAdapter, is_transposed
from scr.editing.lora import LoraParams, adapters
from scr.errors import ModelNotEditable
from tests.editing import tiny

IDS = torch.tensor([[5, 9, 17, 60, 3]])


def pairs_for(modules, rank=2, *, up=1.0):
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for module in modules:
        out, width = module.weight.shape[::-1] if is_transposed(module) else module.weight.shape
        left = torch.randn((rank, width), generator=generator, dtype=torch.float64)
        right = torch.randn((out, rank), generator=generator, dtype=torch.float64)
        pairs.append((0.1 * left, up * 0.1 * right))
    return pairs


def attention_of(model):
    adapter = ModelAdapter(model)
    return [
        module
        for layer in range(adapter.depth)
        for name, module in adapter.linears(layer).items()
        if name.rsplit(".", 1)[-1] in ("c_attn", "q_proj", "v_proj", "query_key_value")
    ]


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_merged_and_beside_the_weights_it_says_the_same(architecture):
    model = tiny.make_model(architecture)
    modules = attention_of(model)
    params = LoraParams(rank=2, alpha=6.0, dropout=0.0)
    pairs = pairs_for(modules)
    plain = model(IDS).logits
    with adapters(modules, pairs, params):
        beside = model(IDS).logits
    assert torch.equal(model(IDS).logits, plain)
    with torch.no_grad():
        for module, (down, up) in zip(modules, pairs, strict=True):
            change = 3.0 * up @ down
            module.weight += change.T if is_transposed(module) else change
    torch.testing.assert_close(model(IDS).logits, beside, rtol=1e-10, atol=1e-11)
    assert (beside - plain).abs().max() > 1e-3


def test_a_new_adapter_changes_no_bit(gpt2):
    modules = attention_of(gpt2)
    plain = gpt2(IDS).logits
    with adapters(modules, pairs_for(modules, up=0.0), LoraParams(dropout=0.5)):
        assert torch.equal(gpt2(IDS).logits, plain)


@pytest.mark.parametrize("rank", [1, 3])
def test_the_rank_of_each_change_is_bounded(rank, llama, tokenizer):
    editor = make_editor("lora", rank=rank, steps=4)
    edit = editor.apply(llama, tokenizer, tiny.REQUESTS)
    assert len(edit.deltas) == 2 * tiny.DEPTH
    for delta in edit.deltas.values():
        assert torch.linalg.matrix_rank(delta, rtol=1e-8) == rank


def test_what_is_adapted_can_be_named(llama, tokenizer):
    edit = make_editor("lora", modules=("down_proj",), steps=2).apply(
        llama, tokenizer, tiny.REQUESTS[:1]
    )
    wanted = {f"model.layers.{layer}.mlp.down_proj.weight" for layer in range(tiny.DEPTH)}
    assert edit.deltas.keys() == wanted


def test_what_is_not_there_cannot_be_adapted(llama, tokenizer):
    before = tiny.weights(llama)
    with pytest.raises(ModelNotEditable, match=r"c_attn.*down_proj"):
        make_editor("lora", modules=("c_attn",)).apply(llama, tokenizer, tiny.REQUESTS)
    assert tiny.changed(llama, before) == set()


def test_training_ends_when_the_target_is_learned(tokenizer):
    gpt2 = tiny.sharp_gpt2()
    editor = make_editor("lora", steps=60, dropout=0.0, rate=1e-2)
    report = editor.apply(gpt2, tokenizer, tiny.REQUESTS[:1]).report.requests[0]
    assert report.steps < 60
    assert report.loss < 1e-2
    assert tiny.nll(gpt2, tokenizer, tiny.REQUESTS[0]) < 2e-2


def test_dropout_is_drawn_by_the_seed(tokenizer):
    def run(seed):
        editor = make_editor("lora", steps=3, dropout=0.5, seed=seed)
        edit = editor.apply(tiny.make_model("gpt2"), tokenizer, tiny.REQUESTS[:1])
        return torch.cat([delta.flatten() for delta in edit.deltas.values()])

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))
