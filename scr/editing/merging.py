"""Model merging: fine-tune until each edit is learned, then go part of the way there.

Robust fine-tuning learns a batch of edits sample by sample and stops each as soon as it is learned.
What that changed is then scaled and pruned, so that what the edits are not about is mostly as it
was. Changes of several edits, by whatever method, can be merged with each other too.

Sources: Fu et al. 2025, "Model Merging for Knowledge Editing", arXiv:2506.12384 (the procedure);
Yadav et al. 2023, "TIES-Merging", arXiv:2306.01708; Yu et al. 2024, "Language Models are Super
Mario", arXiv:2311.03099 (DARE). Of the first only the outline was at hand: rates, the loss that is
enough, the number of steps and the layer are chosen here (`MergeParams` and `presets.merge`).
"""

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from scr.editing import presets
from scr.editing.adapter import ModelAdapter, Shape
from scr.editing.editor import WeightEditor, Work
from scr.editing.finetune import Batch, make_batch, mean_loss, with_end
from scr.editing.report import EditReport, RequestReport
from scr.editing.weights import AppliedEdit, SavedEdit, WeightChange, fingerprint, norms
from scr.errors import EditFailed, EditOrder, InvalidInput

_CLIP: Final = 1.0  # norm of a gradient

Deltas = Mapping[str, Tensor]
"""What is added to each parameter."""


class MergeSettings(BaseModel):
    """How changes are merged with the model before them, and with each other."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    scale: float = Field(default=0.7, ge=0)
    """Factor of the merged change (alpha): 0 is the model before, 1 goes all the way."""

    density: float = Field(default=1.0, ge=0, le=1)
    """Share of each change's entries that are kept (rho)."""

    prune: Literal["magnitude", "dare"] = "magnitude"
    """Which are kept: the largest, or any with this probability, made larger in return."""

    combine: Literal["sum", "ties"] = "sum"
    """How several changes become one: added, or the mean of those that agree with the sign that
    weighs more."""


class MergeParams(MergeSettings):
    """Robust fine-tuning's hyper-parameters, and how it is merged."""

    layers: tuple[int, ...] = (0,)
    """Whose MLP matrices are trained."""

    rate: float = Field(default=1e-4, gt=0)
    """AdamW's learning rate."""

    epochs: int = Field(default=5, ge=1)
    """Most passes over the edits."""

    steps: int = Field(default=10, ge=0)
    """Most steps on an edit in each of them."""

    enough: float = Field(default=0.05, ge=0)
    """Loss in nats a token below which an edit takes no step."""


class Merge(WeightEditor):
    """Robust fine-tuning of a layer's MLP, merged with the model before."""

    name = "merge"
    summary = "fine-tunes an MLP until each edit is learned, then merges with the model before"
    Params = MergeParams

    @classmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return the layer for a model."""
        return presets.merge(shape)

    def changed_modules(self, adapter: ModelAdapter, params: MergeParams) -> Sequence[Any]:
        """Return the MLP matrices of the layers."""
        return adapter.mlp_matrices(params.layers)

    def _edit(self, work: Work) -> list[RequestReport]:
        params, adapter, change = work.params, work.adapter, work.change
        names = [adapter.weight_name(m) for m in adapter.mlp_matrices(params.layers)]
        before = {name: change.master(name).clone() for name in names}
        with work.timed("training"):
            losses, steps = _train(work, names, self.seed)
        with work.timed("merging"), torch.no_grad():
            learned = {name: change.master(name) - before[name] for name in names}
            merged = merge([learned], params, seed=self.seed)
            for name in names:
                change.write(name, before[name] + merged[name])
        lines = zip(work.requests, losses, steps, strict=True)
        return [
            RequestReport(id=r.id, prompt=r.prompt, target=r.target, loss=loss, steps=taken)
            for r, loss, taken in lines
        ]


def _train(work: Work, names: Sequence[str], seed: int) -> tuple[list[float], list[int]]:
    """Train on the requests; return the last loss of each, and how many steps it took.

    Three loops: passes over all edits, edits in any order, steps on each until its loss is small.
    """
    params = work.params
    samples = [with_end(work.tokenizer, request) for request in work.requests]
    batches = [make_batch([sample], work.adapter.device) for sample in samples]
    learner = _Learner(work, names)
    losses, steps = [float("nan")] * len(batches), [0] * len(batches)
    with learner:
        for epoch in range(params.epochs):
            order = Random(f"{seed} {epoch}").sample(range(len(batches)), len(batches))  # noqa: S311
            before = sum(steps)
            for number in order:
                losses[number], taken = learner.learn(batches[number])
                steps[number] += taken
            work.progress("epochs")(epoch + 1, params.epochs)
            if sum(steps) == before:
                break
    return losses, steps


class _Learner:
    """One optimizer over all loops; while it is entered, gradients of the weights are computed."""

    def __init__(self, work: Work, names: Sequence[str]) -> None:
        self._work, self._names = work, names
        parameters = dict(work.adapter.model.named_parameters())
        self._weights = [parameters[name] for name in names]
        self._masters = [work.change.master(n).clone().requires_grad_(True) for n in names]
        self._optimizer = torch.optim.AdamW(self._masters, lr=work.params.rate, weight_decay=0.0)

    def __enter__(self) -> Self:
        for weight in self._weights:
            weight.requires_grad_(True)
        return self

    def __exit__(self, *error: object) -> None:
        for weight in self._weights:
            weight.requires_grad_(False)

    def learn(self, batch: Batch) -> tuple[float, int]:
        """Take steps until the loss is small; return the last loss and how many there were."""
        params = self._work.params
        found, taken = float("nan"), 0
        for _ in range(params.steps):
            loss = mean_loss(self._work.adapter, batch)
            found = loss.item()
            if not math.isfinite(found):
                raise EditFailed("the loss of an edit is no number: lower `rate`, or load float32")
            if found < params.enough:
                break
            taken += 1
            gradients = torch.autograd.grad(loss, self._weights)
            for master, gradient in zip(self._masters, gradients, strict=True):
                master.grad = gradient.to(master.dtype)
            torch.nn.utils.clip_grad_norm_(self._masters, _CLIP)
            self._optimizer.step()
            for name, master in zip(self._names, self._masters, strict=True):
                self._work.change.write(name, master.detach())
        return found, taken


def merge(
    changes: Sequence[Deltas], settings: MergeSettings, *, seed: int = 0
) -> dict[str, Tensor]:
    """Return one change of several: each pruned, combined, scaled.

    Args:
        changes: by parameter; a parameter may be in some of them only.
        settings: how.
        seed: of DARE.
    """
    names = list(dict.fromkeys(name for change in changes for name in change))
    generator = torch.Generator().manual_seed(seed)
    merged = {}
    for name in names:
        parts = [
            pruned(change[name], settings.density, settings.prune, generator)
            for change in changes
            if name in change
        ]
        whole = _elected(parts) if settings.combine == "ties" else torch.stack(parts).sum(0)
        merged[name] = settings.scale * whole
    return merged


def pruned(
    delta: Tensor,
    density: float,
    how: Literal["magnitude", "dare"],
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return a change with a share of its entries: the largest, or by chance without bias."""
    if density >= 1:
        return delta
    if how == "dare":
        drawn = torch.rand(delta.shape, generator=generator, dtype=torch.float64)
        kept = (drawn < density).to(delta.device)
        return torch.where(kept, delta / density, 0.0) if density else torch.zeros_like(delta)
    count = int(density * delta.numel())
    flat = torch.zeros_like(delta).flatten()
    largest = delta.abs().flatten().topk(count).indices
    flat[largest] = delta.flatten()[largest]
    return flat.view_as(delta)


def _elected(parts: Sequence[Tensor]) -> Tensor:
    """Return the mean of the entries whose sign is that of the sum (TIES), entry by entry."""
    stacked = torch.stack(list(parts))
    sign = stacked.sum(0).sign()
    agreeing = (stacked.sign() == sign) & (stacked != 0)
    return (stacked * agreeing).sum(0) / agreeing.sum(0).clamp(min=1)


def merge_edits(
    model: Any, edits: Sequence[SavedEdit], settings: MergeSettings, *, seed: int = 0
) -> AppliedEdit:
    """Put several saved edits of one model on it together, merged.

    Args:
        model: that all of them were made for, as it was before any.
        edits: by whatever methods.
        settings: how they are merged.
        seed: of DARE.

    Raises:
        InvalidInput: if there is no edit.
        EditOrder: if one was made for other weights.
    """
    if not edits:
        raise InvalidInput("there is nothing to merge: give at least one saved edit")
    model_hash = fingerprint(model)
    for edit in edits:
        if edit.report.model_hash != model_hash:
            raise EditOrder(
                f"the edit by {edit.report.method} was made for other weights: merge edits that "
                "were each made for this very model, not on top of each other"
            )
    change = WeightChange(model, {})
    changes = []
    for edit in edits:
        moved = edit.weights.items()
        changes.append({n: w.to(model.device) - change.master(n) for n, w in moved})
    merged = merge(changes, settings, seed=seed)
    try:
        for name, delta in merged.items():
            change.write(name, change.master(name) + delta)
    except EditFailed:
        change.undo()
        raise
    first = edits[0].report
    report = EditReport(
        method="merged",
        model_hash=model_hash,
        origin_hash=model_hash,
        params={**settings.model_dump(), "methods": [edit.report.method for edit in edits]},
        seed=seed,
        requests=tuple(line for edit in edits for line in edit.report.requests),
        changed=norms(model, change),
        seconds={},
        peak_bytes=0,
        versions=first.versions,
    )
    return AppliedEdit(change, report)
