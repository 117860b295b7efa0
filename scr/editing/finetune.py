"""Fine-tuning a few value matrices on the edits: FT, FT-L, FT-M and LocFT-BF.

Sources: Zhu et al. 2020, "Modifying Memories in Transformer Models", arXiv:2012.00363 (FT-L's box);
the baselines of Meng et al. 2022, arXiv:2202.05262 (FT, with its loss at the prompt's last token);
Zhang et al. 2024, "A Comprehensive Study of Knowledge Editing", arXiv:2401.01286 (FT-M); the LocFT
code (ICT-STAR/LocFT: breadth first over all edits).
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from scr.editing import presets
from scr.editing.adapter import ModelAdapter, Shape
from scr.editing.editor import EditorParams, WeightEditor, Work
from scr.editing.passes import Padded, head_at, injected, pad, run_to
from scr.editing.prompts import encode
from scr.editing.report import RequestReport
from scr.edits import EditRequest

ENOUGH = 1e-2
"""Loss of a batch below which it takes no step, and of a pass below which training ends."""


class Sample(NamedTuple):
    """One text to learn."""

    ids: list[int]
    """What is read."""

    places: list[int]
    """From which positions is predicted."""

    labels: list[int]
    """What, at each of them."""


class Batch(NamedTuple):
    """Samples as tensors."""

    padded: Padded
    rows: Tensor
    places: Tensor
    labels: Tensor
    shares: Tensor
    """Weight of each prediction: samples count alike."""


def make_batch(samples: Sequence[Sample], device: Any) -> Batch:
    """Return samples as one batch, whose weighted losses sum to the mean over samples."""
    rows = [n for n, sample in enumerate(samples) for _ in sample.places]
    shares = [1 / len(s.places) / len(samples) for s in samples for _ in s.places]
    return Batch(
        pad([sample.ids for sample in samples], device),
        torch.tensor(rows, device=device),
        torch.tensor([p for s in samples for p in s.places], device=device),
        torch.tensor([label for s in samples for label in s.labels], device=device),
        torch.tensor(shares, device=device),
    )


def mean_loss(
    adapter: Any, batch: Batch, *, after: int = -1, below: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of a batch, in nats; states below a layer may be given."""
    with injected(adapter, after, below), head_at(adapter, batch.rows, batch.places):
        logits = adapter.model(
            input_ids=batch.padded.ids,
            attention_mask=batch.padded.mask,
            position_ids=batch.padded.positions,
            use_cache=False,
        ).logits[0]
    work = logits if logits.dtype == torch.float64 else logits.float()
    each = torch.nn.functional.cross_entropy(work, batch.labels, reduction="none")
    return (each * batch.shares.to(each.dtype)).sum()


class FineTuneParams(EditorParams):
    """Hyper-parameters of fine-tuning."""

    layers: tuple[int, ...] = (0,)
    """Whose value matrices are trained."""

    rate: float = Field(default=5e-4, gt=0)
    """Adam's learning rate."""

    steps: int = Field(default=25, ge=0)
    """Most passes over the samples."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Adam's weight decay."""

    batch: int = Field(default=1, ge=1)
    """Samples of a step, where all edits are trained together."""

    order: Literal["depth", "breadth"] = "depth"
    """Whether one edit is finished before the next begins, or all are trained together."""

    box: float | None = Field(default=None, gt=0)
    """Most that any weight may move from where the editor's sequence began; `None`: no limit."""


class FineTune(WeightEditor):
    """FT: asks for every token of the target right after the prompt, as the baseline does."""

    name = "ft"
    summary = "plain fine-tuning of one matrix; the published baseline, loss at the prompt's end"
    Params = FineTuneParams

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._anchors: dict[str, Tensor] = {}

    @classmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return the layer for a model."""
        return presets.ft(shape)

    def sample(self, work: Work, request: EditRequest) -> Sample:
        """Return what is learned of a request."""
        encoded = encode(work.tokenizer, request)
        last = len(encoded.prompt) - 1
        return Sample(encoded.prompt, [last] * len(encoded.target), encoded.target)

    def _edit(self, work: Work) -> list[RequestReport]:
        params, adapter = work.params, work.adapter
        adapter.check_layers(params.layers)
        for layer in params.layers:  # where the box of a sequence stands
            name = adapter.weight_name(adapter.projections[layer])
            if params.box is not None and name not in self._anchors:
                self._anchors = {**self._anchors, name: work.change.master(name).clone()}
        samples = [self.sample(work, request) for request in work.requests]
        groups = [[s] for s in samples] if params.order == "depth" else [samples]
        losses: list[float] = []
        steps: list[int] = []
        with work.timed("training"):
            for number, group in enumerate(groups):
                loss, passes = self._train(work, group)
                losses += [loss] * len(group)
                steps += [passes] * len(group)
                work.progress("edits")(number + 1, len(groups))
        return [
            RequestReport(
                id=request.id,
                prompt=request.prompt,
                target=request.target,
                loss=loss,
                steps=taken,
            )
            for request, loss, taken in zip(work.requests, losses, steps, strict=True)
        ]

    def _train(self, work: Work, samples: Sequence[Sample]) -> tuple[float, int]:
        """Train on samples; return the last pass's mean loss and the number of passes."""
        params, adapter, change = work.params, work.adapter, work.change
        modules = [adapter.projections[layer] for layer in params.layers]
        names = [adapter.weight_name(module) for module in modules]
        masters = [change.master(name).clone().requires_grad_(True) for name in names]
        optimizer = torch.optim.Adam(masters, lr=params.rate, weight_decay=params.weight_decay)
        batches = _Batches(adapter, samples, params, Random(self.seed))  # noqa: S311
        loss, passes = float("nan"), 0
        for module in modules:
            module.weight.requires_grad_(True)
        try:
            while passes < params.steps and not loss < ENOUGH:
                passes += 1
                losses = []
                for batch, below in batches:
                    found = mean_loss(adapter, batch, after=params.layers[0] - 1, below=below)
                    losses.append(found.item())
                    if losses[-1] < ENOUGH:
                        continue
                    gradients = torch.autograd.grad(found, [module.weight for module in modules])
                    for master, gradient in zip(masters, gradients, strict=True):
                        master.grad = gradient.to(master.dtype)
                    optimizer.step()
                    for name, master in zip(names, masters, strict=True):
                        self._clamp(name, master, params.box)
                        change.write(name, master.detach())
                loss = sum(losses) / len(losses)
        finally:
            for module in modules:
                module.weight.requires_grad_(False)
        return loss, passes

    @torch.no_grad()
    def _clamp(self, name: str, master: Tensor, box: float | None) -> None:
        if box is not None:
            anchor = self._anchors[name]
            master.copy_(master.clamp(anchor - box, anchor + box))

    def state(self) -> dict[str, Tensor]:
        """Return where FT-L's box stands."""
        return dict(self._anchors)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Let the box stand there instead."""
        self._anchors = dict(state)


class _Batches:
    """Mini-batches of one pass after the other, with what lies below the trained layers."""

    def __init__(
        self, adapter: ModelAdapter, samples: Sequence[Sample], params: FineTuneParams, rng: Random
    ) -> None:
        self._adapter, self._samples, self._rng = adapter, samples, rng
        self._size = params.batch
        self._after = params.layers[0] - 1  # below it nothing changes
        self._only: tuple[Batch, Tensor | None] | None = None

    def __iter__(self) -> Iterator[tuple[Batch, Tensor | None]]:
        if len(self._samples) <= self._size:  # the same in each pass: read below it once
            self._only = self._only or self._made(self._samples)
            yield self._only
            return
        order = self._rng.sample(range(len(self._samples)), len(self._samples))
        for start in range(0, len(order), self._size):
            yield self._made([self._samples[n] for n in order[start : start + self._size]])

    @torch.no_grad()
    def _made(self, samples: Sequence[Sample]) -> tuple[Batch, Tensor | None]:
        batch = make_batch(samples, self._adapter.device)
        if self._after < 0:
            return batch, None
        return batch, run_to(self._adapter, batch.padded, [("layer_out", self._after)])[0]


class FineTuneBox(FineTune):
    """FT-L: FT that may move no weight further than a little."""

    name = "ft-l"
    summary = "FT within a box around the original weights"

    @classmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return the layer and the box for a model."""
        return presets.ft_box(shape)


def teacher_forced(tokenizer: Any, request: EditRequest) -> Sample:
    """Return prompt and target as a text of which the target is predicted."""
    encoded = encode(tokenizer, request)
    return Sample(encoded.ids, list(encoded.places), encoded.target)


def with_end(tokenizer: Any, request: EditRequest) -> Sample:
    """Return the same with the end of the text after the target, if the tokenizer has one."""
    encoded = encode(tokenizer, request)
    if tokenizer.eos_token_id is None:
        return teacher_forced(tokenizer, request)
    first = len(encoded.prompt) - 1
    target = [*encoded.target, int(tokenizer.eos_token_id)]
    ids = [*encoded.prompt, *target[:-1]]
    return Sample(ids, list(range(first, first + len(target))), target)


class FineTuneMasked(FineTune):
    """FT-M: the language model's own loss, on the target's tokens alone."""

    name = "ft-m"
    summary = "fine-tuning of one matrix with teacher forcing on the target"

    def sample(self, work: Work, request: EditRequest) -> Sample:
        """Return prompt and target; only the target is predicted."""
        return teacher_forced(work.tokenizer, request)


class FineTuneBreadth(FineTuneMasked):
    """LocFT-BF: all edits together, shuffled in each pass, the end of the target learned too."""

    name = "locft-bf"
    summary = "fine-tuning breadth first over all edits: a strong plain baseline"

    def sample(self, work: Work, request: EditRequest) -> Sample:
        """Return prompt, target and its end; only the last two are predicted."""
        return with_end(work.tokenizer, request)

    @classmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return the layer for a model."""
        return presets.locft(shape)
