"""The lab model that ships: what it is, and that it still does what its card says."""

import pytest
import torch
from safetensors import safe_open

from scr.evaluation.lab import evaluate
from scr.lab.model import WEIGHTS_FILE, lab_model_path, load_lab_model, read_card
from scr.lab.probes import KINDS
from scr.lab.world import DEFAULT_SEED, DEFAULT_SIZE, generate_world


@pytest.fixture(scope="module")
def card():
    return read_card(lab_model_path())


def test_it_is_small_and_in_bfloat16(card):
    file = lab_model_path() / WEIGHTS_FILE
    assert file.stat().st_size <= 20e6
    with safe_open(file, "pt") as tensors:
        kinds = {tensors.get_tensor(name).dtype for name in tensors.keys()}  # noqa: SIM118
    assert kinds == {torch.bfloat16}
    assert 5e6 <= card.parameters <= 10e6


def test_it_knows_the_default_world(card):
    assert (card.seed, card.facts) == (DEFAULT_SEED, DEFAULT_SIZE)
    assert card.current_facts == len(generate_world().current_facts)


def test_its_card_says_what_it_scored_and_where_its_facts_sit(card):
    assert card.scores.keys() == KINDS.keys()
    assert min(score.n for score in card.scores.values()) >= 500
    model, _ = load_lab_model(lab_model_path())
    assert card.rome_layer in card.memit_layers
    assert max(card.memit_layers) < len(model.model.layers)
    readme = (lab_model_path() / "README.md").read_text(encoding="utf-8")
    assert f"`{card.command}`" in readme
    for picture in ("losses.svg", "tracing.svg"):
        assert picture in readme
        assert "<svg" in (lab_model_path() / picture).read_text(encoding="utf-8")


def test_the_shipped_model_knows_follows_and_leaves_alone():
    report = evaluate(lab_model_path(), n=40, seed=5)
    card = read_card(lab_model_path())
    for kind, score in report.scores.items():
        # Four standard errors below what the card says: a different forty cannot fail by chance.
        promised = card.scores[kind].mean
        assert score.mean >= promised - 4 * max(0.02, (promised * (1 - promised) / 40) ** 0.5), kind
    assert report.seconds_per_answer > 0
