import json

import numpy as np
import pytest
import torch

from scr.errors import InvalidInput, ModelUnavailable
from scr.evaluation.lab import evaluate, publish, rescore
from scr.lab.batches import BatchSource, Share, subject_share
from scr.lab.chats import TrainingChats
from scr.lab.model import Card, export_model, load_lab_model, read_card
from scr.lab.probes import KINDS
from scr.lab.training import (
    LOG,
    SIZES,
    Trainer,
    TrainingConfig,
    build_model,
    gradient_dtype,
    rate_scale,
    read_config,
    read_log,
    train,
)
from scr.lab.world import generate_world

TINY = TrainingConfig(
    facts=600,
    tokens=16_000,
    hidden_size=16,
    intermediate_size=32,
    layers=2,
    heads=2,
    closed_tokens=600,
    composer_tokens=600,
    other_tokens=500,
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
    assert read_log(tmp_path) == seen


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


def test_a_log_of_a_resumed_run_tells_each_step_once(tmp_path):
    train(tmp_path, TINY, report_seconds=0.0)
    log = tmp_path / LOG
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:3], *lines[1:]]) + "\n")
    assert [p.step for p in read_log(tmp_path)] == list(range(1, len(lines) + 1))


def test_a_shared_prefix_changes_no_gradient():
    from scr.lab.training import _loss  # the gradient is what has to agree

    trainer = Trainer(TINY)
    replica = trainer._replicas[0].float()
    batch = trainer._batches.step(0)[0].composer
    count, width = batch.ids.shape
    whole = np.concatenate([np.tile(batch.prefix, (count, 1)), batch.ids], axis=1)
    row, column = np.divmod(batch.places, width - 1)
    places = row * (whole.shape[1] - 1) + column + len(batch.prefix)
    gradients = []
    for shown in (batch, batch._replace(prefix=batch.prefix[:0], ids=whole, places=places)):
        replica.zero_grad()
        _loss(replica, shown).backward()
        gradients.append([p.grad.clone() for p in replica.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("capability", "expected"), [("AVX2", torch.float32), ("AVX512", torch.bfloat16)]
)
def test_gradients_avoid_emulated_bfloat16(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert gradient_dtype("cpu") == expected
    assert gradient_dtype("cuda") == torch.bfloat16


def test_replicas_follow_the_model():
    trainer = Trainer(TINY)
    trainer.step()
    for replica in trainer._replicas:
        for copied, parameter in zip(replica.parameters(), trainer.model.parameters(), strict=True):
            assert torch.equal(copied, parameter.to(gradient_dtype("cpu")))


def _batches(**options):
    trainer = Trainer(TINY)
    chats = TrainingChats(generate_world(0, 600))
    sizes = {"closed": 600, "composer": 600, "others": 500}
    return trainer.tokenizer, BatchSource(
        chats, trainer.tokenizer, seed="0", sizes=sizes, **options
    )


def test_answers_weigh_most_and_prompts_little():
    tokenizer, source = _batches()
    answer = tokenizer.convert_tokens_to_ids("<|assistant|>")
    for batch in (batch for share in source.step(0) for batch in share):
        assert batch.weights.sum() == pytest.approx(1.0, abs=1e-5)
        heaviest = set(batch.places[batch.weights == batch.weights.max()])
        first = np.flatnonzero(batch.ids[:, :-1].reshape(-1) == answer)
        assert heaviest.issuperset(first)


def test_batches_are_of_few_shapes_and_about_the_asked_size():
    _, source = _batches()
    shapes = set()
    for step in range(16):
        for share in source.step(step):
            for size, batch in zip((300, 300, 250), share, strict=True):
                rows, width = batch.ids.shape
                assert (width - 1) % 16 == 0
                assert len(batch.places) % 64 == 0
                assert rows * (width - 1) <= size or rows == 1
                shapes.add((rows, width))
    assert len(shapes) < 30


def test_the_first_steps_have_sizes_of_their_own():
    first = {"closed": 2400, "composer": 500, "others": 500}
    _, source = _batches(first_sizes=first, first_steps=16)
    mean = [
        np.mean([share.closed.ids.size for step in steps for share in source.step(step)])
        for steps in (range(16), range(16, 32))
    ]
    assert mean[0] > 2.5 * mean[1]
    config = TrainingConfig()
    assert sum(config.first_sizes.values()) == pytest.approx(sum(config.sizes.values()), abs=2)
    assert config.first_sizes.keys() == config.sizes.keys() == set(Share._fields)


def test_the_share_of_subjects_is_held_and_then_grows_by_equal_factors_to_all():
    held = [subject_share(stage) for stage in (0, 0.1, 0.25)]
    assert held == [held[0]] * 3
    assert held[0] < 0.1
    shares = [subject_share(stage) for stage in np.linspace(0.25, 1, 7)]
    factors = np.divide(shares[1:], shares[:-1])
    assert factors == pytest.approx([factors[0]] * 6)
    assert shares[-1] == 1


def test_the_first_steps_are_about_few_subjects():
    tokenizer, source = _batches(first_steps=4096)
    names = generate_world(0, TINY.facts).by_subject

    def most_asked(steps):
        """Return the share of all mentions that go to the tenth of the subjects named most."""
        rows = [row for step in steps for share in source.step(step) for row in share.closed.ids]
        texts = [tokenizer.decode(row) for row in rows]
        mentions = sorted((sum(name in text for text in texts) for name in names), reverse=True)
        return sum(mentions[: len(names) // 10]) / sum(mentions)

    assert most_asked(range(32)) > 0.5 > most_asked(range(4096, 4128))


def test_a_run_can_start_from_an_exported_model(tmp_path, finished):
    publish(finished, tmp_path / "model", command="none", commit="none", n=1)
    fresh = Trainer(TINY)
    fresh.start_from(tmp_path / "model")
    exported, _ = load_lab_model(tmp_path / "model")
    _assert_equal(_weights(fresh), exported.state_dict())
    assert (fresh.steps, fresh.tokens) == (0, 0)
    wider = Trainer(TINY.model_copy(update={"hidden_size": 32}))
    with pytest.raises(InvalidInput, match="another shape"):
        wider.start_from(tmp_path / "model")


def test_a_run_that_goes_on_draws_chats_that_its_model_has_not_seen():
    first = Trainer(TINY)
    second = Trainer(TINY.model_copy(update={"tokens_before": 1000}))
    batches = [trainer._batches.step(0)[0].closed.ids for trainer in (first, second)]
    assert not np.array_equal(*batches)
    again = Trainer(TINY)._batches.step(0)[0].closed.ids
    assert np.array_equal(batches[0], again)


def test_a_damaged_checkpoint_is_named(tmp_path):
    train(tmp_path, TINY)
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    assert read_config(tmp_path / "checkpoint.pt") == TINY
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2]):
        (tmp_path / "checkpoint.pt").write_bytes(damaged)
        with pytest.raises(InvalidInput, match="no checkpoint of this version"):
            Trainer.load(tmp_path / "checkpoint.pt")


def test_the_large_size_has_its_parameters():
    tokenizer = Trainer(TINY).tokenizer
    with torch.device("meta"):
        model = build_model(TrainingConfig(**SIZES["large"]), tokenizer)
    assert 40e6 < sum(parameter.numel() for parameter in model.parameters()) < 120e6


def test_export_loads_again_with_the_same_logits(tmp_path, finished):
    card = Card(
        command="none", commit="none", seed=0, facts=600, current_facts=580, parameters=1,
        tokens=1, seconds=1.0, notes="", recipe={}, scores={},
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
    seen = []
    report = publish(
        finished, tmp_path, command="a command", commit="a commit", n=5,
        observe=lambda kind, done, total: seen.append((kind, done, total)),
    )  # fmt: skip
    card = read_card(tmp_path)
    assert card.scores == report.scores
    assert card.scores.keys() == KINDS.keys()
    assert {score.n for score in card.scores.values()} == {5}
    assert card.tokens == finished.tokens
    assert [kind for kind, _, _ in seen] == list(KINDS)
    readme = (tmp_path / "README.md").read_text()
    assert "a command" in readme
    assert all(description in readme for description in KINDS.values())
    with pytest.raises(InvalidInput, match="leave --split out"):
        rescore(tmp_path, report.model_copy(update={"split": "train"}))
    again = evaluate(tmp_path, n=6)
    rescore(tmp_path, again)
    assert read_card(tmp_path).scores == again.scores


def test_a_folder_without_weights_says_how_to_get_them(tmp_path):
    with pytest.raises(ModelUnavailable, match="scr lab train"):
        load_lab_model(tmp_path)
