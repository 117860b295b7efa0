"""Training batches: chats as padded token ids with a weight for each predicted token."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from random import Random
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from scr.composition.rendering import INSTRUCTION
from scr.lab.chats import FULL, LEVELS, SYSTEM_PROMPTS, Chat, TrainingChats
from scr.lab.contexts import COMPOSER
from scr.lab.tokens import END, PAD, role_token

POOL_STEPS: Final = 16
"""Steps whose chats are drawn together, so that a batch holds chats of about one length."""

WORKERS: Final = 2
"""Shares of equal size that each step is cut into, to be computed side by side."""

_LENGTH_STEP: Final = 16  # lengths are rounded up to it: a kernel is built for every new shape
_PLACES_STEP: Final = 64  # the same of the number of predictions
_OTHER_SHARE: Final = 0.15  # of the tokens outside answers that are predicted at all
_OTHER_WEIGHT: Final = 0.4  # of such a token, against 1 for a token of an answer
_FIRST_SHARE: Final = 0.05  # of the subjects that the first steps are about
_HELD: Final = 0.25  # of the first steps, in which it stays at that
_STATEMENT_SHARE: Final = 0.2  # of closed-book samples that are a bare sentence
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
    """`(N,)` weight of each prediction, summing to 1; 0 where `places` is filled up."""


class Share(NamedTuple):
    """What one worker computes in a step."""

    closed: Batch
    """Closed-book chats and bare statements."""

    composer: Batch
    """Chats with context as SCR's composer shows it."""

    others: Batch
    """Chats with context shown in other ways."""


class _Sample(NamedTuple):  # without the prefix
    ids: list[int]
    weights: list[float]


class BatchSource:
    """Makes the batches of any step from the seed and the step's number alone.

    Args:
        chats: where samples come from.
        tokenizer: turns them into ids.
        seed: of every choice.
        sizes: tokens a step of each kind of batch, by the names of `Share`.
        first_sizes: the same in the first steps.
        first_steps: how many those are; over them, the share of the subjects that are asked about
            (`subject_share`) and the hardness of contexts rise to the full.
    """

    def __init__(
        self,
        chats: TrainingChats,
        tokenizer: PreTrainedTokenizerFast,
        *,
        seed: str,
        sizes: Mapping[str, int],
        first_sizes: Mapping[str, int] | None = None,
        first_steps: int = 0,
    ) -> None:
        self._chats = chats
        self._encoder = tokenizer.backend_tokenizer
        self._seed = seed
        self._sizes, self._first_sizes = sizes, first_sizes or sizes
        self._first_pools = first_steps // POOL_STEPS
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

    def _stage(self, pool: int) -> float:
        """Return how far the first steps are at a pool, from 0 to 1."""
        return min(1.0, pool / self._first_pools) if self._first_pools else 1.0

    def _draw_pool(self, pool: int) -> list[Share]:
        rng = Random(f"{self._seed}-{pool}")
        kinds = []
        sizes = self._first_sizes if pool < self._first_pools else self._sizes
        for kind in Share._fields:
            size = sizes[kind]
            wanted = POOL_STEPS * WORKERS
            rows: list[list[_Sample]] = []
            while len(rows) < wanted:  # what is too much is left out by lot, not by length
                samples = self._draw_samples(kind, int(1.08 * size * POOL_STEPS), pool, rng)
                rows += _rows(samples, size // WORKERS)
            batches = [
                self._pad_batch(part, self._prefix(kind, rng)) for part in rng.sample(rows, wanted)
            ]
            kinds.append(batches)
        return [Share(*batches) for batches in zip(*kinds, strict=True)]

    def _prefix(self, kind: str, rng: Random) -> list[int]:
        if kind != "composer":
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
        stage = self._stage(pool)
        share = subject_share(stage)
        if kind == "closed" and rng.random() < _STATEMENT_SHARE:
            return self._statement(*self._chats.statement(rng, share=share), rng)
        if kind == "closed":
            ids = self._encode(chat_text(self._chats.closed_book(rng, share=share)))
        else:
            rendering = COMPOSER if kind == "composer" else None
            level = LEVELS[int(stage * len(LEVELS))] if stage < 1 else FULL
            chat = self._chats.in_context(rng, rendering=rendering, level=level, share=share)
            ids = self._encode(chat_text(chat))
            if rendering:
                ids = ids[len(self._instruction) :]
        weights, answering = [0.0], False
        for before, token in pairwise(ids):
            answering = before == self._answer or (answering and before != self._end)
            weights.append(1.0 if answering else self._other(rng))
            if token == self._end and not answering:
                weights[-1] = 0.0
        return _Sample(ids, weights)

    def _statement(self, sentence: str, target: str, rng: Random) -> _Sample:
        ids = [*self._encode(sentence), self._end]
        if rng.random() < 0.5:
            ids = [self._end, *ids]
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
        length = _bucket(max(map(_length, samples)))
        ids = np.full((len(samples), length), self._pad, dtype=np.int64)
        weights = np.zeros((len(samples), length), dtype=np.float32)
        for row, sample in enumerate(samples):
            ids[row, : len(sample.ids)] = sample.ids
            weights[row, : len(sample.ids)] = sample.weights
        predicted = weights[:, 1:].reshape(-1)  # position t predicts token t + 1
        places = np.flatnonzero(predicted)
        shares = predicted[places] / predicted[places].sum()
        spare = -len(places) % _PLACES_STEP
        return Batch(
            np.array(prefix, dtype=np.int64),
            ids,
            np.pad(places, (0, spare)),
            np.pad(shares, (0, spare)),
        )


def subject_share(stage: float) -> float:
    """Return the share of the subjects that are asked about at a stage of the first steps, 0 to 1.

    It is held small until the model attends to subjects at all, and then grows by equal factors:
    what comes in is always in proportion to what is known, so that it is learned as it comes.
    """
    widening = max(0.0, (stage - _HELD) / (1 - _HELD))
    return float(_FIRST_SHARE ** (1 - widening))


def chat_text(chat: Chat) -> str:
    """Return what the chat template makes of a chat."""
    return "".join(
        f"{role_token(message['role'])}{message['content']}{END}" for message in chat.messages()
    )


def _length(sample: _Sample) -> int:
    return len(sample.ids)


def _bucket(length: int) -> int:
    return -(-(length - 1) // _LENGTH_STEP) * _LENGTH_STEP + 1


def _rows(samples: list[_Sample], size: int) -> Iterator[list[_Sample]]:
    """Cut samples into batches of about `size` tokens, each of samples of about one length."""
    left = sorted(samples, key=_length, reverse=True)
    while left:
        number = max(1, size // (_bucket(_length(left[0])) - 1))
        if len(left) < number:
            return
        yield left[:number]
        left = left[number:]
