"""LyapLock: MEMIT over long sequences, with a budget for what may be lost of the model.

Each edited layer has a virtual queue. While the preservation loss, averaged over the sequence,
stays within the budget, the queue is at its floor, and edits weigh as in MEMIT; where it does not,
the queue grows, and with it the weight of preservation in the next least-squares problem.

Source: Wang et al. 2025, "LyapLock: Bounded Knowledge Preservation in Sequential Large Language
Model Editing", arXiv:2505.15702, and its code. The queue is normalized here (`q = Z / sqrt(D)`),
and the preservation loss written as what it is where the statistics of keys and values come from
the same tokens: `tr((W - W0) C (W - W0)^T)`.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from scr.editing import presets
from scr.editing.adapter import Shape, stored
from scr.editing.editor import Work
from scr.editing.solves import cholesky, with_ridge
from scr.editing.spreading import SpreadEditor, SpreadParams

FLOOR: Final = 1.0
"""Least length of a queue, and its first."""

_LEAST_BUDGET: Final = 1e-12  # of the moment's trace: the first batch may have changed nothing


class LyapLockParams(SpreadParams):
    """LyapLock's hyper-parameters."""

    moment_weight: float = Field(default=1000.0, gt=0)
    """How many typical keys are held to their values while a queue is at its floor (lambda)."""

    budget: float = Field(default=60.0, gt=0)
    """Preservation loss that a layer may have on average, as a multiple of that after the first
    batch (alpha)."""

    ridge: float = Field(default=1e-4, ge=0)
    """Added to the second moment's diagonal, as a share of its mean."""


class LayerState(NamedTuple):
    """What is remembered of one layer, from batch to batch; tensors are never written to."""

    origin: Tensor
    """`(d, m)` matrix with which the sequence began."""

    outputs: Tensor
    """`(d, m)` sum of `(W K) K^T` over past batches, each with the matrix it left."""

    gram: Tensor
    """`(m, m)` sum of `K K^T` over them."""

    queue: Tensor
    """`()`."""

    budget: Tensor
    """`()`; 0 before there is one."""


class LyapLock(SpreadEditor):
    """Sequential MEMIT whose preservation loss is held within a budget by a queue per layer."""

    name = "lyaplock"
    summary = "MEMIT in sequence with a budget for what may be lost: queues weigh preservation"
    Params = LyapLockParams

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._layers: dict[int, LayerState] = {}

    @classmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return the layers and settings for a model."""
        return presets.lyaplock(shape)

    def _change(self, work: Work, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        now = _matrix(work, layer)
        if layer not in self._layers:
            self._layers = self._layers | {layer: begin(now)}
        moment = self._moment(work, layer)
        return step(self._layers[layer], now, keys, residuals, moment, work.params.moment_weight)

    def _written(self, work: Work, layer: int, keys: Tensor) -> None:
        now, moment = _matrix(work, layer), self._moment(work, layer)
        state = advance(self._layers[layer], now, keys, moment, work.params.budget)
        self._layers = self._layers | {layer: state}
        loss = preservation_loss(now, state.origin, moment)
        work.measures |= {
            f"layer {layer}: preservation loss": loss,
            f"layer {layer}: budget": float(state.budget),
            f"layer {layer}: queue": float(state.queue),
        }

    def _moment(self, work: Work, layer: int) -> Tensor:
        moment = with_ridge(self.known_moments[layer], work.params.ridge)
        return moment.to(work.adapter.device)

    def state(self) -> dict[str, Tensor]:
        """Return queues, budgets and sums by layer."""
        return {
            f"{layer}.{name}": tensor
            for layer, state in self._layers.items()
            for name, tensor in state._asdict().items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Remember those instead."""
        layers = sorted({int(name.partition(".")[0]) for name in state})
        self._layers = {
            layer: LayerState(*(state[f"{layer}.{field}"] for field in LayerState._fields))
            for layer in layers
        }


def begin(matrix: Tensor) -> LayerState:
    """Return the state of a layer before the first batch."""
    zero = matrix.new_zeros(())
    square = matrix.new_zeros((matrix.shape[1], matrix.shape[1]))
    return LayerState(matrix.clone(), torch.zeros_like(matrix), square, zero + FLOOR, zero)


def step(
    state: LayerState, now: Tensor, keys: Tensor, residuals: Tensor, moment: Tensor, weight: float
) -> Tensor:
    """Return the `(d, m)` change that a batch makes.

    It minimizes `|change K - R|^2`, plus the same for past batches' keys and outputs, plus the
    queue times `weight` times the preservation loss. In the first batch this is MEMIT.

    Args:
        state: of the layer, after the batch before.
        now: `(d, m)` its matrix, in float64 as everything.
        keys: `(m, n)` of the batch.
        residuals: `(d, n)` what they should yield beyond what they do.
        moment: `(m, m)` second moment of typical keys.
        weight: of preservation (lambda).
    """
    held = float(state.queue) * weight * moment
    bracket = keys @ keys.T + state.gram + held
    wanted = residuals @ keys.T + state.outputs - now @ state.gram + (state.origin - now) @ held
    factor = cholesky(bracket, "the second moment with the keys of this sequence")
    return torch.cholesky_solve(wanted.T, factor).T


def advance(
    state: LayerState, now: Tensor, keys: Tensor, moment: Tensor, budget: float
) -> LayerState:
    """Return the state after a batch that left the matrix `now`; the first one sets the budget."""
    loss = preservation_loss(now, state.origin, moment)
    limit = float(state.budget)
    if not limit:
        least = _LEAST_BUDGET * float(moment.diagonal().sum())
        limit = max(budget * loss, least)
    return LayerState(
        origin=state.origin,
        outputs=state.outputs + (now @ keys) @ keys.T,
        gram=state.gram + keys @ keys.T,
        queue=now.new_tensor(next_queue(float(state.queue), loss, limit)),
        budget=now.new_tensor(limit),
    )


def next_queue(queue: float, loss: float, budget: float) -> float:
    """Return a queue after a batch: it grows by how much the loss exceeds the budget.

    Sums telescope: the mean of `loss / budget` over `t` batches is at most 1 plus the queue's
    growth over `t`.
    """
    return max(queue + loss / budget - 1.0, FLOOR)


def preservation_loss(now: Tensor, origin: Tensor, moment: Tensor) -> float:
    """Return the mean squared change of what typical keys yield."""
    moved = now - origin
    return float(((moved @ moment) * moved).sum())


def _matrix(work: Work, layer: int) -> Tensor:
    module = work.adapter.projections[layer]
    master = work.change.master(work.adapter.weight_name(module))
    return stored(module, master).double()
