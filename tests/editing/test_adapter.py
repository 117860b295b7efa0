"""Finding what is edited, by structure; refusing what cannot be."""

import pytest
import torch
from torch import nn

from scr.editing import make_editor
from scr.editing.adapter import ModelAdapter, evaluating, read_matrix
from scr.errors import ModelNotEditable
from tests.editing import tiny
from tests.editing.making import make

PROJECTIONS = {
    "gpt2": "transformer.h.2.mlp.c_proj.weight",
    "gptj": "transformer.h.2.mlp.fc_out.weight",
    "gpt_neox": "gpt_neox.layers.2.mlp.dense_4h_to_h.weight",
}


def test_every_architecture_is_understood(architecture):
    model = tiny.make_model(architecture)
    before, hooks = tiny.weights(model), tiny.hooks(model)
    adapter = ModelAdapter(model)
    name = PROJECTIONS.get(architecture, "model.layers.2.mlp.down_proj.weight")
    assert adapter.weight_name(adapter.projections[2]) == name
    assert (adapter.depth, adapter.shape.width) == (tiny.DEPTH, tiny.WIDTH)
    assert read_matrix(adapter.projections[0]).shape == (tiny.WIDTH, tiny.INNER)
    assert adapter.additive == (architecture not in tiny.SANDWICHED)
    assert adapter.returns_tuples == (architecture == "gptj")
    assert adapter.head is model.get_output_embeddings()
    assert adapter.max_length == tiny.POSITIONS
    assert tiny.changed(model, before) == set()
    assert tiny.hooks(model) == hooks


def linear_twin(model):
    """The same GPT-2 with `Linear` in the place of its MLPs' `Conv1D`."""
    twin = tiny.make_model("gpt2", n_inner=model.config.n_inner)
    twin.load_state_dict(model.state_dict())
    for block in twin.transformer.h:
        old = block.mlp.c_proj
        new = nn.Linear(*old.weight.shape, dtype=old.weight.dtype)
        new.weight.data, new.bias.data = old.weight.data.T.contiguous(), old.bias.data
        block.mlp.c_proj = new
    return twin.eval()


@pytest.mark.parametrize("inner", [tiny.INNER, tiny.WIDTH], ids=["wide", "square"])
@pytest.mark.parametrize("name", ["ft-m", "ft-l", "rome", "memit", "emmet", "alphaedit"])
def test_a_matrix_is_read_by_its_type_not_its_shape(name, inner, tokenizer):
    model = tiny.make_model("gpt2", n_inner=inner)
    twin = linear_twin(model)
    ids = torch.tensor([tokenizer("The river of Ubrea")["input_ids"]])
    torch.testing.assert_close(model(ids).logits, twin(ids).logits)
    one, other = (make(name).apply(m, tokenizer, tiny.REQUESTS) for m in (model, twin))
    assert one.deltas.keys() == other.deltas.keys()
    for parameter, delta in one.deltas.items():
        torch.testing.assert_close(delta.T, other.deltas[parameter], rtol=1e-6, atol=1e-9)


def test_a_quantized_model_is_refused(gpt2):
    gpt2.config.quantization_config = {"load_in_4bit": True}
    with pytest.raises(ModelNotEditable, match="quantized"):
        ModelAdapter(gpt2)


def test_weights_of_eight_bits_are_refused(gpt2):
    packed = torch.zeros((4, 4), dtype=torch.int8)
    gpt2.transformer.h[0].mlp.c_fc.weight = nn.Parameter(packed, requires_grad=False)
    with pytest.raises(ModelNotEditable, match="int8"):
        ModelAdapter(gpt2)


def test_a_model_on_several_devices_is_refused(gpt2):
    gpt2.transformer.h[3].to("meta")
    with pytest.raises(ModelNotEditable, match="cpu, meta"):
        ModelAdapter(gpt2)


def test_a_sharded_parameter_is_refused(gpt2):
    gpt2.transformer.h[0].mlp.c_fc.weight.placements = ("shard",)
    with pytest.raises(ModelNotEditable, match="sharded"):
        ModelAdapter(gpt2)


def test_an_adapter_in_the_place_of_the_matrix_is_refused(llama):
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.scale = inner, nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, states):
            return self.inner(states) * self.scale * 2

    for layer in llama.model.layers:
        layer.mlp.down_proj = Wrapped(layer.mlp.down_proj)
    with pytest.raises(ModelNotEditable, match="does not end in one projection"):
        ModelAdapter(llama)


def test_a_mixture_of_experts_is_refused():
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    with pytest.raises(ModelNotEditable):
        ModelAdapter(MixtralForCausalLM(config))


@pytest.mark.parametrize("layers", [(), (2, 1), (1, 1), (-1,), (1, tiny.DEPTH)])
def test_layers_that_are_not_there_are_refused(layers, gpt2, tokenizer):
    before = tiny.weights(gpt2)
    with pytest.raises(ModelNotEditable, match="layers"):
        make("memit", layers=layers).apply(gpt2, tokenizer, tiny.REQUESTS)
    assert tiny.changed(gpt2, before) == set()


def test_evaluating_puts_modes_and_flags_back_after_an_error(gpt2):
    gpt2.train()
    gpt2.transformer.h[0].eval()
    modes = [module.training for module in gpt2.modules()]
    with evaluating(gpt2):
        assert not any(module.training for module in gpt2.modules())
        assert not any(parameter.requires_grad for parameter in gpt2.parameters())
    with pytest.raises(ZeroDivisionError), evaluating(gpt2):
        raise ZeroDivisionError
    assert [module.training for module in gpt2.modules()] == modes
    assert all(parameter.requires_grad for parameter in gpt2.parameters())


@pytest.mark.parametrize("depth", [1, 2, 3, 24])
@pytest.mark.parametrize("name", ["ft", "ft-l", "locft-bf", "rome", "memit", "alphaedit"])
def test_default_layers_are_there_at_any_depth(name, depth):
    from scr.editing.adapter import Shape

    params = make_editor(name, templates=tiny.BARE).params_for(Shape("unknown", depth, 64))
    layers = getattr(params, "layers", None) or (params.layer,)
    assert all(0 <= layer < depth for layer in layers)
