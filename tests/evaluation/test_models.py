"""A transformers model as an evaluation asks it, on a tiny random model."""

import pytest
import torch

from scr.evaluation.models import TransformersModel
from scr.lab.tokens import build_tokenizer

TEXTS = ["The capital of Kestria is", "Dana Lee works for", "Who"]
TARGETS = ["Arosa", "Bluepeak Labs", "New Arosa"]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def network(tokenizer, tiny_llama):
    return tiny_llama(tokenizer, num_hidden_layers=2, initializer_range=0.3)


@pytest.fixture(scope="module")
def model(network, tokenizer):
    return TransformersModel(network, tokenizer, max_tokens=8)


def _chat(text):
    return [{"role": "user", "content": text}]


def test_batching_and_padding_change_no_reply(model):
    assert model.complete(TEXTS) == [model.complete([text])[0] for text in TEXTS]
    chats = [_chat(text) for text in TEXTS]
    assert model.answer(chats) == [model.answer([chat])[0] for chat in chats]
    assert model.answer([]) == []


def test_a_nll_is_the_mean_over_the_targets_tokens(model, network, tokenizer):
    (value,) = model.nll([TEXTS[0]], ["New Arosa"])
    before = tokenizer(TEXTS[0])["input_ids"]
    ids = torch.tensor([tokenizer(f"{TEXTS[0]} New Arosa")["input_ids"]])
    assert ids.shape[1] == len(before) + 2
    with torch.inference_mode():
        logs = network(ids).logits[0].log_softmax(-1)
    places = range(len(before), ids.shape[1])
    by_hand = -sum(float(logs[place - 1, ids[0, place]]) for place in places) / 2
    assert value == pytest.approx(by_hand, abs=1e-5)
    chosen = [int(logs[place - 1].argmax()) == int(ids[0, place]) for place in places]
    assert model.token_accuracy([TEXTS[0]], ["New Arosa"]) == [sum(chosen) / 2]


def test_padding_changes_no_nll(model):
    prompts = [*TEXTS, *map(_chat, TEXTS)]
    together = model.nll(prompts, TARGETS * 2)
    apart = [model.nll([p], [t])[0] for p, t in zip(prompts, TARGETS * 2, strict=True)]
    assert together == pytest.approx(apart, abs=1e-5)


def test_a_greedy_reply_is_what_teacher_forcing_would_choose(model, network, tokenizer):
    (reply,) = model.complete([TEXTS[0]])
    ids = tokenizer(TEXTS[0])["input_ids"]
    start = len(ids)
    with torch.inference_mode():
        for _ in range(8):
            ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
    chosen = tokenizer.decode(ids[start:], skip_special_tokens=True)
    assert reply == chosen.strip().split("\n")[0].strip()


def test_a_checkpoints_own_sampling_settings_are_not_used(network, tokenizer, model):
    plain = model.complete(TEXTS)
    network.generation_config.repetition_penalty = 5.0
    try:
        assert model.complete(TEXTS) == plain
    finally:
        network.generation_config.repetition_penalty = 1.0
