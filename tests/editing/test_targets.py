"""The fast optimizer of target vectors gives what the plain loop gives."""

import pytest
import torch

from scr.editing import targets
from scr.editing.adapter import ModelAdapter, evaluating
from scr.editing.targets import TargetParams, optimize_targets
from scr.errors import EditFailed
from tests.editing import plain, tiny

CONTEXTS = ["{}", "The people of Arosa spoke. {}"]
PARAMS = TargetParams(steps=3, rate=0.3, clamp=3.0)

# GPT-J and Gemma 2 take their softmax in float32, whatever the weights are.
ROUNDED = {"gptj": 1e-4, "gpt_neox": 1e-4, "gemma2": 1e-4}


def optimize(model, tokenizer, requests, *, layer=2, site="layer_out", params=PARAMS, **options):
    adapter = ModelAdapter(model)
    with evaluating(model):
        return optimize_targets(
            adapter,
            tokenizer,
            requests,
            layer=layer,
            site=site,
            templates=options.get("templates", CONTEXTS),
            params=params,
        )


def optimize_plainly(model, tokenizer, asked, *, layer=2, site="layer_out", params=PARAMS, **opt):
    adapter = ModelAdapter(model)
    with evaluating(model):
        templates = opt.get("templates", CONTEXTS)
        return plain.optimize_target(adapter, tokenizer, asked, layer, site, templates, params)


@pytest.mark.parametrize("site", ["mlp_out", "layer_out"])
def test_all_requests_at_once_equal_one_by_one(architecture, site, tokenizer):
    model = tiny.make_model(architecture)
    layer = 1 if site == "mlp_out" else 2
    found = optimize(model, tokenizer, tiny.REQUESTS, layer=layer, site=site)
    near = ROUNDED.get(architecture, 1e-9)
    for number, asked in enumerate(tiny.REQUESTS):
        wanted = optimize_plainly(model, tokenizer, asked, layer=layer, site=site)
        torch.testing.assert_close(found.start[number], wanted.start, rtol=near, atol=near)
        torch.testing.assert_close(found.delta[number], wanted.delta, rtol=near, atol=near)
        assert found.losses[number] == pytest.approx(wanted.loss, rel=near)
        assert found.steps[number] == wanted.steps


@pytest.mark.parametrize("site", ["mlp_out", "layer_out"])
@pytest.mark.parametrize("layer", [0, tiny.DEPTH - 1])
def test_also_at_the_first_and_last_layer(layer, site, any_tokenizer):
    model = tiny.make_model("gemma3")
    # the subject last, or nothing of the last layer would reach the target
    asked = [
        tiny.request(prefix="Nyborg is the capital of ", suffix=""),
        tiny.request("r2", "", "The river", "", "of Ubrea"),
    ]
    found = optimize(model, any_tokenizer, asked, layer=layer, site=site)
    for number, one in enumerate(asked):
        wanted = optimize_plainly(model, any_tokenizer, one, layer=layer, site=site)
        torch.testing.assert_close(found.delta[number], wanted.delta, rtol=1e-8, atol=1e-9)


def test_requests_stop_by_themselves(tokenizer):
    """At different steps, and those that go on are not disturbed."""
    gpt2 = tiny.sharp_gpt2()
    params = TargetParams(steps=20, rate=0.5, clamp=30.0, weight_decay=0.0, kl_factor=0.0)
    asked = [
        tiny.request("r1", suffix="", target="is"),
        tiny.request("r2", suffix="", target="Olm and the people"),
        tiny.request("r3", prefix="", subject="Ubrea", suffix="", target="was"),
    ]
    options = {"layer": tiny.DEPTH - 1, "params": params, "templates": ["{}"]}
    found = optimize(gpt2, tokenizer, asked, **options)
    wanted = [optimize_plainly(gpt2, tokenizer, one, **options) for one in asked]
    assert found.steps == [one.steps for one in wanted]
    assert len(set(found.steps)) > 1
    assert min(found.steps) < params.steps
    for number, one in enumerate(wanted):
        torch.testing.assert_close(found.delta[number], one.delta, rtol=1e-7, atol=1e-8)
        if found.steps[number] < params.steps:
            assert found.losses[number] < 0.05


def test_a_subject_that_is_the_first_token(gpt2, tokenizer):
    asked = tiny.request(prefix="", subject="The", suffix=" capital of Kestria is")
    found = optimize(gpt2, tokenizer, [asked, tiny.REQUESTS[1]], templates=["{}"])
    wanted = optimize_plainly(gpt2, tokenizer, asked, templates=["{}"])
    torch.testing.assert_close(found.delta[0], wanted.delta, rtol=1e-9, atol=1e-10)


def test_a_subject_that_is_the_last_of_the_prompt(llama, tokenizer):
    asked = tiny.request(prefix="Nyborg is the capital of ", subject="Kestria", suffix="")
    found = optimize(llama, tokenizer, [asked])
    wanted = optimize_plainly(llama, tokenizer, asked)
    torch.testing.assert_close(found.delta[0], wanted.delta, rtol=1e-9, atol=1e-10)


def test_order_and_company_make_no_difference(llama, tokenizer):
    found = optimize(llama, tokenizer, tiny.REQUESTS)
    turned = optimize(llama, tokenizer, tiny.REQUESTS[::-1])
    torch.testing.assert_close(turned.wanted.flip(0), found.wanted, rtol=1e-9, atol=1e-11)
    alone = optimize(llama, tokenizer, tiny.REQUESTS[1:2])
    torch.testing.assert_close(alone.wanted[0], found.wanted[1], rtol=1e-9, atol=1e-11)


def test_many_requests_are_read_in_parts(monkeypatch, llama, tokenizer):
    """In parts of about one length; results come in the order of the requests."""
    wanted = optimize(llama, tokenizer, tiny.REQUESTS)
    monkeypatch.setitem(targets._MEMORY, "cpu", 1)
    found = optimize(llama, tokenizer, tiny.REQUESTS)
    torch.testing.assert_close(found.wanted, wanted.wanted, rtol=1e-9, atol=1e-11)
    assert found.steps == wanted.steps
    assert found.losses == pytest.approx(wanted.losses, rel=1e-9)


def test_the_change_stays_in_its_ball(gpt2, tokenizer):
    params = TargetParams(steps=15, rate=0.5, clamp=0.3)
    found = optimize(gpt2, tokenizer, tiny.REQUESTS, params=params)
    lengths = found.delta.norm(dim=1) / found.start.norm(dim=1)
    assert (lengths <= 0.3 + 1e-5).all()
    assert lengths.max() > 0.29


def test_one_step_is_no_change(gpt2, tokenizer):
    found = optimize(gpt2, tokenizer, tiny.REQUESTS, params=TargetParams(steps=1))
    assert not found.delta.any()
    assert found.steps == [1, 1, 1]


def test_a_loss_that_is_no_number_is_told(gpt2, tokenizer):
    with torch.no_grad():
        gpt2.transformer.ln_f.weight[3] = float("inf")
    with pytest.raises(EditFailed, match="r1 is not finite"):
        optimize(gpt2, tokenizer, tiny.REQUESTS)
