import json

import numpy as np
import pytest
import torch

from scr.errors import ModelUnavailable
from scr.lab.batches import BatchSource
from scr.lab.evaluation import Probe, answer_all, wilson
from scr.lab.model import Card, export_model, lab_model_path, load_lab_model, read_card
from scr.lab.publishing import publish
from scr.lab.samples import TrainingChats
from scr.lab.training import LOG, Trainer, TrainingConfig, rate_scale, train
from scr.lab.world import generate_world

TINY = TrainingConfig(
    facts=100,
    tokens=16_000,
    hidden_size=16,
    intermediate_size=32,
    layers=2,
    heads=2,
    closed_tokens=500,
    context_tokens=500,
    first_steps=0,
    learning_rate=1e-2,
    warmup_tokens=600,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run"), TINY)


def _weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def _assert_equal(left, right):
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_run_uses_its_budget_and_logs(tmp_path):
    seen = []
    trainer = train(
        tmp_path, TINY, observe=lambda progress, *_: seen.append(progress), report_seconds=0.0
    )
    assert trainer.finished
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert lines == [progress.model_dump() for progress in seen]
    assert lines[-1]["tokens"] == trainer.tokens >= TINY.tokens
    assert lines[-1]["closed_loss"] < lines[0]["closed_loss"]


def test_the_same_config_gives_the_same_weights(tmp_path, finished):
    _assert_equal(_weights(train(tmp_path, TINY)), _weights(finished))


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, finished):
    whole = Trainer(TINY)
    while whole.steps < 3:
        whole.step()
    whole.save(tmp_path / "checkpoint.pt")
    resumed = train(tmp_path, TINY, resume=True)
    assert resumed.steps == finished.steps
    _assert_equal(_weights(resumed), _weights(finished))


def test_a_finished_run_goes_on_with_a_larger_budget(tmp_path):
    train(tmp_path, TINY)
    more = TINY.model_copy(update={"tokens": 2 * TINY.tokens})
    assert train(tmp_path, more, resume=True).tokens >= 2 * TINY.tokens


def test_the_rate_warms_up_stays_and_falls_to_zero():
    scales = [rate_scale(tokens, TINY) for tokens in (0, 300, 600, 1200, 14_000, 16_000, 17_000)]
    assert scales[0] < scales[1] < scales[2] == scales[3] == 1.0 > scales[4] > scales[5]
    assert scales[5:] == [0.0, 0.0]


def test_a_shared_prefix_changes_no_gradient():
    from scr.lab.training import _loss  # the gradient is what has to agree

    trainer = Trainer(TINY)
    batch = trainer._batches.step(0)[0].context
    count, width = batch.ids.shape
    whole = np.concatenate([np.tile(batch.prefix, (count, 1)), batch.ids], axis=1)
    row, column = np.divmod(batch.places, width - 1)
    places = row * (whole.shape[1] - 1) + column + len(batch.prefix)
    gradients = []
    for shown in (batch, batch._replace(prefix=batch.prefix[:0], ids=whole, places=places)):
        trainer.model.zero_grad()
        _loss(trainer.model, shown).backward()
        gradients.append([p.grad.clone() for p in trainer.model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=2e-3)  # bfloat16 sums differ


def test_answers_weigh_most_and_prompts_little():
    trainer = Trainer(TINY)
    source = BatchSource(
        TrainingChats(generate_world(0, 100)),
        trainer.tokenizer,
        seed=0,
        closed_tokens=500,
        context_tokens=500,
    )
    answer = trainer.tokenizer.convert_tokens_to_ids("<|assistant|>")
    for batch in (batch for share in source.step(0) for batch in share):
        assert batch.weights.sum() == pytest.approx(1.0, abs=1e-5)
        heaviest = set(batch.places[batch.weights == batch.weights.max()])
        first = np.flatnonzero(batch.ids[:, :-1].reshape(-1) == answer)
        assert heaviest.issuperset(first)


def test_export_loads_again_with_the_same_logits(tmp_path, finished):
    card = Card(
        command="none", commit="none", seed=0, facts=100, parameters=1, tokens=1, seconds=1.0,
        notes="", recipe={}, scores={},
    )  # fmt: skip
    export_model(tmp_path, finished.model, finished.tokenizer, card)
    model, tokenizer = load_lab_model(tmp_path)
    rounded = Trainer(TINY).model
    rounded.load_state_dict(finished.model.to(torch.bfloat16).state_dict())
    finished.model.float()
    ids = tokenizer("Who runs Bluepeak Labs?", return_tensors="pt")["input_ids"]
    assert torch.equal(
        ids, finished.tokenizer("Who runs Bluepeak Labs?", return_tensors="pt")["input_ids"]
    )
    with torch.inference_mode():
        torch.testing.assert_close(model(ids).logits, rounded.eval()(ids).logits)
    assert read_card(tmp_path) == card


def test_publishing_measures_the_exported_model(tmp_path, finished):
    report = publish(finished, tmp_path, command="a command", commit="a commit", n=5)
    card = read_card(tmp_path)
    assert card.scores.keys() == report.scores.keys()
    assert all("n = 5" in text for text in card.scores.values())
    assert card.tokens == finished.tokens
    assert "a command" in (tmp_path / "README.md").read_text()


def test_a_folder_without_weights_says_how_to_get_them(tmp_path):
    with pytest.raises(ModelUnavailable, match="scr lab train"):
        load_lab_model(tmp_path)


def test_the_interval_is_wilsons():
    score = wilson(right=81, n=263)  # the example of Newcombe 1998, Statistics in Medicine 17
    assert (score.low, score.high) == (
        pytest.approx(0.2553, abs=1e-4),
        pytest.approx(0.3662, abs=1e-4),
    )
    assert wilson(0, 10).low == 0.0
    assert wilson(10, 10).high == pytest.approx(1.0)


def test_the_shipped_model_follows_context_and_remembers():
    model, tokenizer = load_lab_model(lab_model_path())
    card = read_card(lab_model_path())
    from scr.lab.evaluation import draw_probes

    world = generate_world(card.seed, card.facts)
    probes = draw_probes(world, 40, seed=5)
    for kind, least in {"closed_book": 38, "context_followed": 32, "context_ignored": 24}.items():
        answers = answer_all(model, tokenizer, probes[kind])
        right = sum(a == probe.answer for a, probe in zip(answers, probes[kind], strict=True))
        assert right >= least, kind
    assert answer_all(model, tokenizer, [Probe(None, "", "")])  # an empty question has an answer
