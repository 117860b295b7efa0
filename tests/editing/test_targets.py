"""The batched optimizer finds what a loop over single requests finds; see also the plain form."""

import sys
from pathlib import Path

import pytest
import torch

from scr.editing.adapter import ModelAdapter, evaluating
from scr.editing.targets import TargetParams, optimize_targets
from scr.edits import EditRequest

from .models import KINDS, REQUESTS, SANDWICH, hooks, model, tokenizer

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import plain_editing

TEMPLATES = ("{}", "You can see the river. {}", "Because the house stands. {}")


@pytest.mark.parametrize("site", ["mlp_out", "layer_out"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_finds_what_single_requests_find(kind, site):
    adapter = ModelAdapter(model(kind))
    params = TargetParams(steps=6, clamp=20.0, weight_decay=1e-3)
    given = {"layer": 1, "site": site, "params": params}
    with evaluating(adapter.model):
        found = optimize_targets(adapter, tokenizer(), REQUESTS, templates=TEMPLATES, **given)
        for number, request in enumerate(REQUESTS):
            alone = plain_editing.target(
                adapter, tokenizer(), request, templates=TEMPLATES, **given
            )
            torch.testing.assert_close(found.wanted[number], alone, rtol=1e-6, atol=1e-8)
    assert hooks(adapter.model) == 0


@pytest.mark.parametrize("kind", ["gpt2", *SANDWICH])
def test_the_first_layer_and_prompts_that_begin_with_the_subject(kind):
    adapter = ModelAdapter(model(kind))
    params = TargetParams(steps=4, weight_decay=1e-3)
    requests = [REQUESTS[2]]  # its subject is the first token
    given = {"layer": 0, "site": "mlp_out", "params": params, "templates": ("{}",)}
    with evaluating(adapter.model):
        found = optimize_targets(adapter, tokenizer(), requests, **given)
        alone = plain_editing.target(adapter, tokenizer(), requests[0], **given)
    torch.testing.assert_close(found.wanted[0], alone, rtol=1e-6, atol=1e-8)


def test_each_request_stops_by_itself_and_changes_nothing_for_the_others():
    adapter = ModelAdapter(model("llama"))
    params = TargetParams(steps=60, rate=0.5, weight_decay=0.0, kl_factor=0.0, clamp=100.0)
    given = {"layer": 2, "site": "layer_out", "params": params, "templates": ("{}",)}
    # prompts that end in their subjects, so that one token of the target is in reach at once
    requests = [
        EditRequest(id=str(n), prefix="It is ", subject=subject, suffix="", target="the")
        for n, subject in enumerate(("Kestria", "Dana Lee", "the river", "Cobalt Software"))
    ]
    with evaluating(adapter.model):
        together = optimize_targets(adapter, tokenizer(), requests, **given)
        apart = [optimize_targets(adapter, tokenizer(), [r], **given) for r in requests]
    assert len(set(together.steps)) > 1  # or the test shows nothing
    assert together.steps == [one.steps[0] for one in apart]
    for number, one in enumerate(apart):
        torch.testing.assert_close(together.delta[number], one.delta[0], rtol=1e-6, atol=1e-8)
        assert together.losses[number] == pytest.approx(one.losses[0])
    assert all(
        loss < 0.05 for loss, n in zip(together.losses, together.steps, strict=True) if n < 60
    )


@pytest.mark.parametrize("clamp", [0.1, 0.75])
def test_a_change_stays_within_its_radius(clamp):
    adapter = ModelAdapter(model("gptj"))
    with evaluating(adapter.model):
        found = optimize_targets(
            adapter,
            tokenizer(),
            REQUESTS,
            layer=1,
            site="layer_out",
            templates=TEMPLATES,
            params=TargetParams(clamp=clamp, weight_decay=0.0),
        )
    ratio = found.delta.norm(dim=1) / found.start.norm(dim=1)
    assert (ratio <= clamp + 1e-9).all()
    assert (ratio > 0.99 * clamp).any()


def test_one_step_changes_nothing():
    adapter = ModelAdapter(model("llama"))
    with evaluating(adapter.model):
        found = optimize_targets(
            adapter,
            tokenizer(),
            REQUESTS,
            layer=1,
            site="layer_out",
            templates=TEMPLATES,
            params=TargetParams(steps=1),
        )
    assert not found.delta.any()
    assert found.steps == [1, 1, 1]
