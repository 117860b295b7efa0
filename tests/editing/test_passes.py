"""Reading a model: padding and shortcuts make no difference, and nothing is left behind."""

import pytest
import torch

from scr.editing.adapter import ModelAdapter, evaluating
from scr.editing.passes import PlaceReader, chunks, head_at, injected, pad, run_to
from scr.editing.prompts import encode
from tests.editing import plain, tiny

NEAR = {"gptj": 1e-6, "gpt_neox": 1e-6, "gemma2": 1e-6}  # softmax in float32
SITES = ("key", "mlp_out", "layer_out")


def rows_of(tokenizer):
    encoded = [encode(tokenizer, asked) for asked in tiny.REQUESTS]
    return [one.prompt for one in encoded], [one.subject_last for one in encoded]


def module_of(adapter, site, layer):
    return {"key": adapter.projections, "mlp_out": adapter.mlps, "layer_out": adapter.layers}[site][
        layer
    ]


def test_rows_together_are_read_as_each_alone(architecture, tokenizer):
    """At the right row of tuples and tensors alike, and above what is kept from before."""
    model = tiny.make_model(architecture)
    adapter = ModelAdapter(model)
    rows, places = rows_of(tokenizer)
    near = NEAR.get(architecture, 1e-10)
    with evaluating(model):
        fresh, ahead = PlaceReader(adapter, rows, places), PlaceReader(adapter, rows, places)
        ahead.advance(0)
        ahead.advance(1)
        for site in SITES:
            module = module_of(adapter, site, 2)
            wanted = torch.stack(
                [
                    plain.read(model, module, row, place, key=site == "key")
                    for row, place in zip(rows, places, strict=True)
                ]
            )
            for reader in (fresh, ahead):
                found = reader.read(site, 2)
                torch.testing.assert_close(found, wanted, rtol=near, atol=near)


@pytest.mark.parametrize("tokens", [1, 16, 10**6])
def test_the_size_of_batches_makes_no_difference(tokens, monkeypatch, llama, tokenizer):
    rows, places = rows_of(tokenizer)
    adapter = ModelAdapter(llama)
    with evaluating(llama):
        wanted = PlaceReader(adapter, rows, places).read("key", 1)
        monkeypatch.setattr(chunks, "__defaults__", (tokens,))
        found = PlaceReader(adapter, rows, places).read("key", 1)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-12)


def test_padding_on_either_side_makes_no_difference(architecture, tokenizer):
    """Left padding comes about where the subjects' last tokens stand in one column."""
    model = tiny.make_model(architecture)
    adapter = ModelAdapter(model)
    rows, places = rows_of(tokenizer)
    near = NEAR.get(architecture, 1e-9)
    found = []
    with evaluating(model), torch.no_grad():
        for split in (None, places):
            padded = pad(rows, "cpu", split=split)
            (states,) = run_to(adapter, padded, [("layer_out", 2)])
            real = padded.mask.bool()
            found.append([states[n][real[n]] for n in range(len(rows))])
    for row, one, other in zip(rows, *found, strict=True):
        assert len(one) == len(row)
        if not (one.isnan().any() or other.isnan().any()):
            torch.testing.assert_close(one, other, rtol=near, atol=near)


def test_logits_are_computed_where_they_are_wanted(architecture, tokenizer):
    model = tiny.make_model(architecture)
    adapter = ModelAdapter(model)
    padded = pad(rows_of(tokenizer)[0], "cpu")
    rows, places = torch.tensor([0, 2, 1]), torch.tensor([1, 3, 0])
    options = {"input_ids": padded.ids, "attention_mask": padded.mask, "use_cache": False}
    with evaluating(model), torch.no_grad():
        whole = model(**options).logits
        with head_at(adapter, rows, places):
            found = model(**options).logits
    assert found.shape == (1, 3, tiny.VOCABULARY)
    torch.testing.assert_close(found[0], whole[rows, places], rtol=1e-10, atol=1e-10)


def test_states_that_are_given_come_out_of_their_layer(architecture, tokenizer):
    model = tiny.make_model(architecture)
    adapter = ModelAdapter(model)
    padded = pad(rows_of(tokenizer)[0], "cpu")
    options = {"input_ids": padded.ids, "attention_mask": padded.mask, "use_cache": False}
    with evaluating(model), torch.no_grad():
        whole = model(**options).logits
        (states,) = run_to(adapter, padded, [("layer_out", 1)])
        with injected(adapter, 1, states):
            again = model(**options).logits
        real = padded.mask.bool()
        torch.testing.assert_close(again[real], whole[real], rtol=1e-10, atol=1e-10)


def test_methods_that_others_left_on_layers_stay(gpt2, tokenizer):
    """As those by which a loader places layers on a device."""
    calls = []
    layer = gpt2.transformer.h[0]
    own = layer.forward

    def forward(*args, **kwargs):
        calls.append(1)
        return own(*args, **kwargs)

    layer.forward = forward
    adapter = ModelAdapter(gpt2)
    padded = pad(rows_of(tokenizer)[0], "cpu")
    with evaluating(gpt2), torch.no_grad():
        (states,) = run_to(adapter, padded, [("layer_out", 0)])
        run_to(adapter, padded, [("layer_out", 2)], 0, states)
    assert layer.__dict__["forward"] is forward
    assert calls
    assert tiny.hooks(gpt2) == 1


def test_everything_is_gone_after_an_error(gpt2, tokenizer):
    adapter = ModelAdapter(gpt2)
    padded = pad(rows_of(tokenizer)[0], "cpu")
    with (
        pytest.raises(ZeroDivisionError),
        injected(adapter, 1, torch.zeros(1)),
        head_at(adapter, padded.ids, padded.ids),
    ):
        raise ZeroDivisionError
    wrong = torch.zeros((7, 1, 1))
    with evaluating(gpt2), pytest.raises((RuntimeError, ValueError, IndexError)):
        run_to(adapter, padded, [("key", 3)], 1, wrong)
    assert tiny.hooks(gpt2) == 0
