"""Causal tracing: what must hold for any model, and where a planted memory is found."""

import copy

import pytest
import torch

from scr.edits import EditRequest
from scr.errors import InvalidInput
from scr.lab.tokens import build_tokenizer
from scr.lab.tracing import POSITIONS, SITES, draw, suggested_layers, trace

LAYERS = 3


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def network(tokenizer, tiny_llama):
    return tiny_llama(tokenizer, num_hidden_layers=LAYERS, initializer_range=0.2)


def _requests(network, tokenizer):
    """Return prompts with what the random model happens to complete them with."""
    for subject in ("Kestria", "Dana Lee", "New Arosa", "Bluepeak Labs", "The Silent River"):
        prompt = f"The founder of {subject} is"
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        with torch.inference_mode():
            target = tokenizer.decode(network(ids).logits[0, -1].argmax())
        if tokenizer(f"{prompt} {target}")["input_ids"][:-1] == ids[0].tolist():
            yield EditRequest(
                id=subject,
                prefix="The founder of ",
                subject=subject,
                suffix=" is",
                target="x",
                old_target=target,
            )


@pytest.fixture(scope="module")
def report(network, tokenizer):
    return trace(network, tokenizer, list(_requests(network, tokenizer)), n=2, seed=0)


def test_restoring_the_last_state_of_the_last_token_restores_the_answer(report):
    gain = report.effects["state"][POSITIONS.index("last token")][LAYERS - 1]
    assert report.corrupted + gain == pytest.approx(report.clean, abs=1e-5)


def test_tokens_before_the_end_cannot_act_through_the_last_layer(report):
    for position in ("last subject token", "first subject token"):
        assert report.effects["state"][POSITIONS.index(position)][LAYERS - 1] == pytest.approx(
            0, abs=1e-6
        )
        assert report.effects["mlp"][POSITIONS.index(position)][LAYERS - 1] == pytest.approx(
            0, abs=1e-6
        )


def test_the_same_seed_gives_the_same_report(network, tokenizer, report):
    requests = list(_requests(network, tokenizer))
    assert trace(network, tokenizer, requests, n=2, seed=0) == report
    assert trace(network, tokenizer, requests, n=2, seed=1) != report
    assert report.n == 2
    assert report.effects.keys() == set(SITES)
    assert all(len(rows) == len(POSITIONS) for rows in report.effects.values())


def test_tracing_leaves_the_model_as_it_was(network, tokenizer, report):
    requests = list(_requests(network, tokenizer))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trace(network, tokenizer, requests, n=1)
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_memory_is_found_in_the_layer_where_it_was_planted(network, tokenizer, layer):
    planted = copy.deepcopy(network)
    with torch.no_grad():
        for number, block in enumerate(planted.model.layers):
            if number != layer:  # no other MLP adds anything
                block.mlp.down_proj.weight.zero_()
            else:
                block.mlp.down_proj.weight.mul_(3)
    report = trace(planted, tokenizer, list(_requests(planted, tokenizer)), n=2)
    assert [any(row[other] for row in report.effects["mlp"]) for other in range(LAYERS)] == [
        other == layer for other in range(LAYERS)
    ]


def test_the_layers_run_up_to_the_peak_without_a_gap():
    assert suggested_layers([0.1, 0.6, 0.5, 1.0, 0.9]) == (3, (1, 2, 3))
    assert suggested_layers([0.9, 0.1, 1.0]) == (2, (2,))
    assert suggested_layers([1.0, 0.9]) == (0, (0,))


def test_a_model_that_remembers_nothing_cannot_be_traced(network, tokenizer):
    (request, *_) = _requests(network, tokenizer)
    wrong = request.model_copy(update={"old_target": "Nobody Else"})
    with pytest.raises(InvalidInput, match="nothing to trace"):
        trace(network, tokenizer, [wrong])


def test_a_picture_is_drawn_the_same_every_time(report, tmp_path):
    draw(report, tmp_path / "one.svg")
    draw(report, tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
