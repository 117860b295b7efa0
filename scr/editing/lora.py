"""LoRA: a low-rank change of attention (or MLP) projections, learned on the edits.

Source: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685. The
settings are those of EasyEdit, but training stops when the loss is small.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, Final

import torch
from pydantic import Field
from torch import Tensor

from scr.editing import presets
from scr.editing.adapter import ModelAdapter, Shape, read_matrix
from scr.editing.editor import EditorParams, WeightEditor, Work
from scr.editing.finetune import ENOUGH, Sample, make_batch, mean_loss, teacher_forced
from scr.editing.passes import hooked
from scr.editing.report import RequestReport
from scr.errors import EditFailed, ModelNotEditable

USUAL: Final = (("q_proj", "v_proj"), ("c_attn",), ("query_key_value",))
"""Projections that are adapted where none are named: the first pair that a layer has."""


class LoraParams(EditorParams):
    """LoRA's hyper-parameters."""

    modules: tuple[str, ...] = ()
    """Last parts of the names of what is adapted, in each layer; empty: the usual ones."""

    rank: int = Field(default=8, ge=1)
    """Rank of each change."""

    alpha: float = Field(default=32.0, gt=0)
    """Its scale, over the rank."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of what goes into an adapter, in training."""

    rate: float = Field(default=5e-3, gt=0)
    """Adam's learning rate."""

    steps: int = Field(default=50, ge=0)
    """Most passes over the edits."""

    batch: int = Field(default=16, ge=1)
    """Edits of a step."""


class Lora(WeightEditor):
    """An adapter trained on the edits of one call, then added to the weights."""

    name = "lora"
    summary = "a low-rank adapter of the attention, trained on the edits and merged"
    Params = LoraParams

    @classmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return the steps for a model, and what is adapted where that is not usual."""
        return presets.lora(shape)

    def changed_modules(self, adapter: ModelAdapter, params: LoraParams) -> Sequence[Any]:
        """Return what is adapted, in every layer."""
        return _adapted(adapter, params.modules)

    def _edit(self, work: Work) -> list[RequestReport]:
        params, adapter = work.params, work.adapter
        adapted = _adapted(adapter, params.modules)
        samples = [teacher_forced(work.tokenizer, request) for request in work.requests]
        pairs = _initial(adapted, params.rank, self.seed)
        with work.timed("training"):
            loss, passes = _train(work, adapted, pairs, samples, self.seed)
        scale = params.alpha / params.rank
        for module, (down, up) in zip(adapted, pairs, strict=True):
            work.change.add(adapter.weight_name(module), module, scale * (up @ down).detach())
        return [
            RequestReport(
                id=request.id,
                prompt=request.prompt,
                target=request.target,
                loss=loss,
                steps=passes,
            )
            for request in work.requests
        ]


def _adapted(adapter: ModelAdapter, names: Sequence[str]) -> list[Any]:
    first = {name.rsplit(".", 1)[-1] for name in adapter.linears(0)}
    if not names:
        names = next((usual for usual in USUAL if set(usual) <= first), ())
    missing = set(names) - first
    if missing or not names:
        raise ModelNotEditable(
            f"a layer of this model has no {', '.join(sorted(missing)) or 'usual projections'} to "
            f"adapt: name some of {', '.join(sorted(first))} in `modules`"
        )
    return [
        module
        for layer in range(adapter.depth)
        for name, module in adapter.linears(layer).items()
        if name.rsplit(".", 1)[-1] in names
    ]


def _initial(modules: Sequence[Any], rank: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return for each module `(rank, in)` Kaiming-uniform and `(out, rank)` zero matrices."""
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for module in modules:
        matrix = read_matrix(module)
        out, width = matrix.shape
        dtype = matrix.dtype if matrix.dtype == torch.float64 else torch.float32
        bound = math.sqrt(6 / (1 + 5) / width)  # as torch initializes linear layers
        down = (torch.rand((rank, width), generator=generator, dtype=dtype) * 2 - 1) * bound
        up = torch.zeros((out, rank), dtype=dtype)
        pairs.append(
            (
                down.to(matrix.device).requires_grad_(True),
                up.to(matrix.device).requires_grad_(True),
            )
        )
    return pairs


def _train(
    work: Work,
    modules: Sequence[Any],
    pairs: Sequence[tuple[Tensor, Tensor]],
    samples: Sequence[Sample],
    seed: int,
) -> tuple[float, int]:
    params = work.params
    optimizer = torch.optim.Adam([t for pair in pairs for t in pair], lr=params.rate)
    rng = Random(seed)  # noqa: S311
    loss, passes = float("nan"), 0
    device = work.adapter.device
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), adapters(modules, pairs, params):
        torch.manual_seed(seed)  # of the dropout
        for _ in range(params.steps):
            passes += 1
            losses = []
            order = list(range(len(samples)))
            rng.shuffle(order)
            for start in range(0, len(order), params.batch):
                chosen = [samples[n] for n in order[start : start + params.batch]]
                found = mean_loss(work.adapter, make_batch(chosen, work.adapter.device))
                losses.append(found.item())
                if not math.isfinite(losses[-1]):
                    raise EditFailed("LoRA diverged: its loss is no number; lower `rate`")
                if losses[-1] < ENOUGH:
                    continue
                optimizer.zero_grad()
                found.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            loss = sum(losses) / len(losses)
            work.progress("passes")(passes, params.steps)
            if loss < ENOUGH:
                break
    return loss, passes


@contextmanager
def adapters(
    modules: Sequence[Any], pairs: Sequence[tuple[Tensor, Tensor]], params: LoraParams
) -> Iterator[None]:
    """Add `alpha / rank * up down dropout(x)` to what each module puts out."""

    def adding(down: Tensor, up: Tensor) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> Tensor:
            read = torch.nn.functional.dropout(args[0].to(down.dtype), params.dropout)
            change = torch.nn.functional.linear(torch.nn.functional.linear(read, down), up)
            return output + (params.alpha / params.rank * change).to(output.dtype)

        return hook

    hooks = [(m, adding(*pair)) for m, pair in zip(modules, pairs, strict=True)]
    with hooked(*hooks):
        yield
