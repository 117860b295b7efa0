"""Training batches: chats as padded token ids with a weight for each predicted token."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from scr.composition.rendering import INSTRUCTION
from scr.lab.samples import SYSTEM_PROMPTS, Chat, TrainingChats
from scr.lab.tokens import END, PAD, role_token

POOL_STEPS: Final = 16
"""Steps whose chats are drawn together, so that a batch holds chats of about one length."""

WORKERS: Final = 2
"""Shares of equal size that each step is cut into, to be computed side by side."""

_OTHER_SHARE: Final = 0.15  # of the tokens outside answers that are predicted at all
_OTHER_WEIGHT: Final = 0.4  # of such a token, against 1 for a token of an answer
_STATEMENT_SHARE: Final = 0.15  # of closed-book samples that are a bare sentence
_OPENING_SHARE: Final = 0.4  # of batches with context in which another prompt comes before it


class Batch(NamedTuple):
    """Samples of one kind, padded on the right."""

    prefix: NDArray[np.int64]
    """`(P,)` token ids that every row begins with, kept apart so that the model reads them once
    and not once a row; empty for closed-book batches."""

    ids: NDArray[np.int64]
    """`(B, T)` token ids after the prefix; a causal model needs no mask, since padding is last."""

    places: NDArray[np.int64]
    """`(N,)` flat positions in `ids[:, :-1]` from which the next token is predicted."""

    weights: NDArray[np.float32]
    """`(N,)` weight of each prediction, summing to 1."""


class Share(NamedTuple):
    """What one worker computes in a step."""

    closed: Batch
    """Closed-book chats and bare statements."""

    context: Batch
    """Chats with context."""


class _Sample(NamedTuple):  # without the prefix
    ids: list[int]
    weights: list[float]


class BatchSource:
    """Makes the batches of any step from the seed and the step's number alone.

    Each step has one share for each worker, and each share two batches: closed-book chats with bare
    statements, and chats with context.
    """

    def __init__(
        self,
        chats: TrainingChats,
        tokenizer: PreTrainedTokenizerFast,
        *,
        seed: int,
        closed_tokens: int,
        context_tokens: int,
        first_closed_tokens: int | None = None,
        first_steps: int = 0,
        easy_steps: int = 0,
    ) -> None:
        self._chats = chats
        self._encoder = tokenizer.backend_tokenizer
        self._seed = seed
        self._sizes = {"closed": closed_tokens, "context": context_tokens}
        self._first_sizes = self._sizes | {"closed": first_closed_tokens or closed_tokens}
        self._first_pools = first_steps // POOL_STEPS
        self._easy_pools = easy_steps // POOL_STEPS
        vocabulary = self._encoder.get_vocab()
        self._pad, self._end = vocabulary[PAD], vocabulary[END]
        self._answer = vocabulary[role_token("assistant")]
        self._instruction = self._encode(role_token("system") + INSTRUCTION)
        self._pool: tuple[int, list[Share]] = (-1, [])

    def step(self, number: int) -> list[Share]:
        """Return one share for each worker of one step, counted from 0."""
        pool, place = divmod(number, POOL_STEPS)
        if self._pool[0] != pool:
            self._pool = (pool, self._draw_pool(pool))
        return self._pool[1][place * WORKERS : (place + 1) * WORKERS]

    def _draw_pool(self, pool: int) -> list[Share]:
        rng = Random(f"{self._seed}-{pool}")
        kinds = []
        sizes = self._first_sizes if pool < self._first_pools else self._sizes
        for kind, size in sizes.items():
            samples = sorted(self._draw_samples(kind, size * POOL_STEPS, pool, rng), key=_length)
            batches = [
                self._pad_batch(part, self._prefix(kind, rng))
                for part in _parts(samples, POOL_STEPS * WORKERS)
            ]
            rng.shuffle(batches)
            kinds.append(batches)
        return [Share(*batches) for batches in zip(*kinds, strict=True)]

    def _prefix(self, kind: str, rng: Random) -> list[int]:
        if kind == "closed":
            return []
        if rng.random() > _OPENING_SHARE:
            return self._instruction
        return self._encode(f"{role_token('system')}{rng.choice(SYSTEM_PROMPTS)}\n\n{INSTRUCTION}")

    def _draw_samples(self, kind: str, tokens: int, pool: int, rng: Random) -> list[_Sample]:
        samples: list[_Sample] = []
        drawn = 0
        while drawn < tokens:
            fresh = [self._draw(kind, pool, rng) for _ in range(64)]
            samples += fresh
            drawn += sum(len(sample.ids) for sample in fresh)
        return samples

    def _draw(self, kind: str, pool: int, rng: Random) -> _Sample:
        if kind == "closed" and rng.random() < _STATEMENT_SHARE:
            return self._statement(*self._chats.statement(rng), rng)
        if kind == "closed":
            ids = self._encode(chat_text(self._chats.closed_book(rng)))
        else:
            chat = self._chats.in_context(rng, easy=pool < self._easy_pools)
            ids = self._encode(chat_text(chat))[len(self._instruction) :]
        weights, answering = [0.0], False
        for before, token in pairwise(ids):
            answering = before == self._answer or (answering and before != self._end)
            weights.append(1.0 if answering else self._other(rng))
            if token == self._end and not answering:
                weights[-1] = 0.0
        return _Sample(ids, weights)

    def _statement(self, sentence: str, target: str, rng: Random) -> _Sample:
        ids = [self._end, *self._encode(sentence), self._end]
        wanted = self._encode(target)
        weights = [0.0, *(self._other(rng) for _ in ids[1:])]
        for start in range(len(ids) - len(wanted)):
            if ids[start : start + len(wanted)] == wanted:
                weights[start : start + len(wanted)] = [1.0] * len(wanted)
        return _Sample(ids, weights)

    def _other(self, rng: Random) -> float:
        return _OTHER_WEIGHT if rng.random() < _OTHER_SHARE else 0.0

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._encoder.encode(text).ids
        return ids

    def _pad_batch(self, samples: Sequence[_Sample], prefix: list[int]) -> Batch:
        length = max(map(_length, samples))
        ids = np.full((len(samples), length), self._pad, dtype=np.int64)
        weights = np.zeros((len(samples), length), dtype=np.float32)
        for row, sample in enumerate(samples):
            ids[row, : len(sample.ids)] = sample.ids
            weights[row, : len(sample.ids)] = sample.weights
        predicted = weights[:, 1:].reshape(-1)  # position t predicts token t + 1
        places = np.flatnonzero(predicted)
        shares = predicted[places] / predicted[places].sum()
        return Batch(np.array(prefix, dtype=np.int64), ids, places, shares)


def chat_text(chat: Chat) -> str:
    """Return what the chat template makes of a chat."""
    return "".join(
        f"{role_token(message['role'])}{message['content']}{END}" for message in chat.messages()
    )


def _length(sample: _Sample) -> int:
    return len(sample.ids)


def _parts(samples: Sequence[_Sample], number: int) -> Iterator[Sequence[_Sample]]:
    """Cut sorted samples into parts of about equal tokens, so that long chats make small parts."""
    ends = np.cumsum([len(sample.ids) for sample in samples])
    cuts = np.searchsorted(ends, ends[-1] * np.arange(1, number) / number) + 1
    bounds = [0, *(int(cut) for cut in cuts), len(samples)]
    for start, end in pairwise(bounds):
        yield samples[start:end]
