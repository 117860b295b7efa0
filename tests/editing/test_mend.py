"""MEND: the gradient it starts from, its networks, their training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.editing import make_editor
from scr.editing.adapter import ModelAdapter, evaluating, read_matrix
from scr.editing.finetune import make_batch, teacher_forced
from scr.editing.mend import (
    Factors,
    MendNetworks,
    Normalizer,
    card_for,
    edits_of,
    modules_of,
    read_factors,
)
from scr.editing.mend_training import MendSample, MendTraining, train_mend
from scr.editing.passes import hooked
from scr.errors import InvalidInput
from tests.editing import tiny
from tests.editing.making import make, networks_for

OTHERS = tuple(tiny.CORPUS[4:])


def samples():
    rephrased = [
        tiny.request("r1", "In 1931 the capital of ", "Kestria", " was", "Nyborg"),
        tiny.request("r2", "The violin of ", "Mirel Anday-Stone", " is the", "piano at football"),
    ]
    pairs = zip(tiny.REQUESTS[:2], rephrased, strict=True)
    return [MendSample(asked, (again,), OTHERS) for asked, again in pairs]


def quick(**options):
    given = {"last": 2, "rank": 8, "rate": 1e-3, "step_rate": 1e-2, "step": -1e-3}
    budget = {"accumulate": 2, "samples": 24, "every": 8}
    return MendTraining(**(given | budget | options))


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_factors_are_those_of_the_gradient(architecture, tokenizer):
    model = tiny.make_model(architecture)
    adapter = ModelAdapter(model)
    modules = adapter.mlp_matrices((2, 3))
    batch = make_batch([teacher_forced(tokenizer, r) for r in tiny.REQUESTS], adapter.device)
    with evaluating(model):
        _, factors = read_factors(adapter, modules, batch, len(tiny.REQUESTS))
        for module in modules:
            module.weight.requires_grad_(True)
        logits = model(input_ids=batch.padded.ids, attention_mask=batch.padded.mask).logits
        picked = logits[batch.rows, batch.places]
        each = torch.nn.functional.cross_entropy(picked, batch.labels, reduction="none")
        (len(tiny.REQUESTS) * (each * batch.shares).sum()).backward()
    for module, own in zip(modules, factors, strict=True):
        gradient = module.weight.grad.T if architecture == "gpt2" else module.weight.grad
        torch.testing.assert_close(own.wanted.T @ own.inputs, gradient)


def test_fresh_networks_only_normalize(gpt2, tokenizer):
    networks = networks_for(gpt2, step=1.0).double()  # statistics of nothing: as they are
    adapter = ModelAdapter(gpt2)
    modules = modules_of(adapter, networks.card)
    batch = make_batch([teacher_forced(tokenizer, tiny.REQUESTS[0])], adapter.device)
    with evaluating(gpt2):
        _, factors = read_factors(adapter, modules, batch, 1)
    for own, rewritten in zip(factors, networks.eval()(factors), strict=True):
        before, after = own.wanted.T @ own.inputs, rewritten.wanted.T @ rewritten.inputs
        torch.testing.assert_close(after, before)


def test_an_edit_in_hooks_is_the_edit_in_the_weights(gpt2, tokenizer):
    networks = networks_for(gpt2).double().eval()
    adapter = ModelAdapter(gpt2)
    modules = modules_of(adapter, networks.card)
    ids = torch.tensor([tokenizer("The capital of Kestria is")["input_ids"]])
    batch = make_batch([teacher_forced(tokenizer, tiny.REQUESTS[0])], adapter.device)
    with evaluating(gpt2):
        _, factors = read_factors(adapter, modules, batch, 1)
        with torch.no_grad(), hooked(*edits_of(modules, networks(factors))):
            hooked_logits = gpt2(ids).logits
    make_editor("mend", networks=networks).apply(gpt2, tokenizer, tiny.REQUESTS[:1])
    torch.testing.assert_close(gpt2(ids).logits, hooked_logits)


def test_the_change_has_no_more_rank_than_the_edit_has_tokens(gpt2, tokenizer):
    edit = make("mend").apply(gpt2, tokenizer, tiny.REQUESTS[:1])
    tokens = len(teacher_forced(tokenizer, tiny.REQUESTS[0]).ids)
    for delta in edit.deltas.values():
        assert 0 < int(torch.linalg.matrix_rank(delta, rtol=1e-9)) <= tokens


def test_an_untrained_editor_is_refused(gpt2, tokenizer):
    before = tiny.weights(gpt2)
    fresh = MendNetworks(card_for(ModelAdapter(gpt2), 2, 4))
    for editor in (make_editor("mend"), make_editor("mend", networks=fresh)):
        with pytest.raises(InvalidInput, match="train-mend"):
            editor.apply(gpt2, tokenizer, tiny.REQUESTS[:1])
    assert tiny.changed(gpt2, before) == set()


def test_networks_of_another_model_are_refused_and_of_other_weights_told(gpt2, llama, tokenizer):
    editor = make_editor("mend", networks=networks_for(gpt2))
    with pytest.raises(InvalidInput, match="another model"):
        editor.apply(llama, tokenizer, tiny.REQUESTS[:1])
    other = tiny.make_model("gpt2", seed=3)
    edit = make_editor("mend", networks=networks_for(gpt2)).apply(
        other, tokenizer, tiny.REQUESTS[:1]
    )
    assert any("other weights" in warning for warning in edit.report.warnings)


def test_saved_networks_make_the_same_edit(tmp_path, tokenizer):
    model = tiny.make_model("gpt2", torch.float32)
    networks = networks_for(model)
    networks.save(tmp_path)
    wanted = make_editor("mend", networks=networks).apply(model, tokenizer, tiny.REQUESTS[:1])
    wanted.restore()
    found = make_editor("mend", trained=tmp_path).apply(model, tokenizer, tiny.REQUESTS[:1])
    for name, delta in wanted.deltas.items():
        assert torch.equal(found.deltas[name], delta)


def test_a_folder_without_networks_is_told(tmp_path, gpt2, tokenizer):
    (tmp_path / "mend.json").write_text("{")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InvalidInput):
            make_editor("mend", trained=folder).apply(gpt2, tokenizer, tiny.REQUESTS[:1])


@settings(max_examples=30)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 10**6))
def test_statistics_do_not_depend_on_how_rows_come_in(sizes, seed):
    rows = torch.randn(
        (sum(sizes), 3), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    normalizer = Normalizer(3).double()
    for part in rows.split(sizes):
        normalizer.see(part)
    if len(rows) > 1:
        wanted = (rows - rows.mean(0)) / rows.std(0)
        torch.testing.assert_close(normalizer(rows), wanted, rtol=1e-4, atol=1e-4)
    else:
        assert torch.equal(normalizer(rows), rows)


def test_tokens_without_gradient_are_left_out(gpt2):
    networks = networks_for(gpt2).double().train()
    adapter = ModelAdapter(gpt2)
    drawn = torch.Generator().manual_seed(0)
    factors = []
    for module in modules_of(adapter, networks.card):
        outputs, inputs = read_matrix(module).shape
        wanted = torch.randn((5, outputs), generator=drawn, dtype=torch.float64)
        wanted[1] = 0
        given = torch.randn((5, inputs), generator=drawn, dtype=torch.float64)
        factors.append(Factors(given, wanted))
    assert all(len(own.inputs) == 4 for own in networks(factors))


def test_training_helps_where_it_was_not_trained_and_leaves_the_model_alone(tmp_path, tokenizer):
    model = tiny.make_model("gpt2", torch.float32)
    before = tiny.weights(model)
    told = []
    networks = train_mend(
        model, tokenizer, samples(), samples(), quick(), tmp_path, observe=told.append
    )
    assert tiny.changed(model, before) == set()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [line.samples for line in told] == [8, 16, 24]
    assert networks.card.trained in (8, 16, 24)
    assert told[-1].edit < told[0].edit
    assert all(0 <= line.drift < 1.0 for line in told)
    rephrased = samples()[0].rephrases[0]
    likely = tiny.nll(model, tokenizer, rephrased)
    with make_editor("mend", trained=tmp_path).apply(model, tokenizer, tiny.REQUESTS[:1]):
        assert tiny.nll(model, tokenizer, rephrased) < likely


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path, tokenizer):
    model = tiny.make_model("gpt2", torch.float32)
    whole = train_mend(model, tokenizer, samples(), samples(), quick(), tmp_path / "whole")
    train_mend(model, tokenizer, samples(), samples(), quick(samples=8), tmp_path / "parts")
    parts = train_mend(
        model, tokenizer, samples(), samples(), quick(), tmp_path / "parts", resume=True
    )
    assert parts.card.history == whole.card.history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], tensor), name


def test_a_run_with_other_settings_is_not_resumed(tmp_path, tokenizer):
    model = tiny.make_model("gpt2", torch.float32)
    train_mend(model, tokenizer, samples(), samples(), quick(samples=8), tmp_path)
    with pytest.raises(InvalidInput, match="other settings"):
        train_mend(model, tokenizer, samples(), samples(), quick(rate=1e-2), tmp_path, resume=True)
    with pytest.raises(InvalidInput, match="learns from edits"):
        train_mend(model, tokenizer, [], samples(), quick(), tmp_path)
