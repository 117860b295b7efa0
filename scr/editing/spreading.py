"""MEMIT, EMMET and AlphaEdit: many facts at once, spread over the value matrices of some layers.

They share everything but the closed form: target vectors are optimized for the highest layer, and
each layer from below takes its share of what is still missing there.

Sources: Meng et al. 2023, "Mass-Editing Memory in a Transformer", arXiv:2210.07229; Gupta et al.
2024, "A Unified Framework for Model Editing", arXiv:2403.14236 (EMMET); Fang et al. 2025,
"AlphaEdit: Null-Space Constrained Knowledge Editing", arXiv:2410.02355.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from scr.editing import presets, solves
from scr.editing.adapter import Shape
from scr.editing.contexts import LENGTHS, weights_of
from scr.editing.editor import WeightEditor, Work
from scr.editing.passes import PlaceReader, Site
from scr.editing.prompts import encode
from scr.editing.report import RequestReport
from scr.editing.rome import each_alone, flat, reports_of
from scr.editing.solves import KeyGram
from scr.editing.targets import TargetParams, Targets, optimize_targets
from scr.editing.weights import AppliedEdit
from scr.edits import EditRequest
from scr.errors import ModelNotEditable


class SpreadParams(TargetParams):
    """What methods that spread over layers share."""

    layers: tuple[int, ...] = (0,)
    """Whose value matrices change, in rising order."""

    contexts: tuple[int, ...] = LENGTHS
    """Tokens of the texts sampled as contexts, a text of each for each of five beginnings."""

    clamp: float = Field(default=0.75, gt=0)
    """Most the change's norm may be, as a share of the norm of what it changes."""


class SpreadEditor(WeightEditor):
    """Base: optimizes target vectors and spreads them; a method gives the closed form."""

    needs_templates = True
    needs_moments: ClassVar[bool] = True

    @abstractmethod
    def _change(self, work: Work, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        """Return the `(d, m)` change for `(m, n)` keys and `(d, n)` residuals, in float64."""

    def _written(self, work: Work, layer: int, keys: Tensor) -> None:
        """Remember the `(m, n)` keys with which a layer was just changed, if the method does.

        They are those of the edited model: the layers below have all been changed before.
        """

    def moment_layers(self, params: SpreadParams) -> Sequence[int]:
        """Return the edited layers."""
        return params.layers

    def _edit(self, work: Work) -> list[RequestReport]:
        targets = self._targets(work, work.requests)
        self._spread(work, targets.wanted)
        return reports_of(work.requests, targets)

    def each(
        self, model: Any, tokenizer: Any, requests: Sequence[EditRequest]
    ) -> Iterator[AppliedEdit]:
        """Edit each request alone; target vectors are optimized together. See `WeightEditor`."""
        return each_alone(self, model, tokenizer, requests, self._insert_alone)

    def _insert_alone(self, work: Work, targets: Targets, number: int) -> list[RequestReport]:
        self._spread(work, targets.wanted[number : number + 1])
        return reports_of(work.requests, targets, number)

    def _targets(self, work: Work, requests: Sequence[EditRequest]) -> Targets:
        adapter, params = work.adapter, work.params
        adapter.check_layers(params.layers)
        if not adapter.additive and len(params.layers) > 1:
            raise ModelNotEditable(
                f"{adapter.shape.family} puts a norm after each MLP, so what is missing at one "
                "layer cannot be spread over others: edit a single one, such as "
                f"`layers` {params.layers[-1]}"
            )
        with work.timed("targets"):
            return optimize_targets(
                adapter,
                work.tokenizer,
                requests,
                layer=params.layers[-1],
                site="layer_out" if adapter.additive else "mlp_out",
                templates=flat(self.templates or ()),
                params=params,
                observe=work.progress("targets"),
            )

    def _spread(self, work: Work, wanted: Tensor) -> None:
        adapter, layers = work.adapter, work.params.layers
        site: Site = "layer_out" if adapter.additive else "mlp_out"
        encoded = [
            [encode(work.tokenizer, r, t) for t in flat(self.templates or ())]
            for r in work.requests
        ]
        rows = [e for row in encoded for e in row]
        with work.timed("keys"):
            keys = PlaceReader(adapter, [e.prompt for e in rows], [e.subject_last for e in rows])
            bare = [row[0] for row in encoded]
            states = PlaceReader(adapter, [e.prompt for e in bare], [e.subject_last for e in bare])
        for number, layer in enumerate(layers):
            with work.timed("keys"):
                keys.advance(layer - 1)
                states.advance(layer - 1)
                columns = self._columns(keys.read("key", layer))
                now = states.read(site, layers[-1]).double()
            residuals = ((wanted.double() - now) / (len(layers) - number)).T
            with work.timed("solve"):
                change = self._change(work, layer, columns, residuals)
            projection = adapter.projections[layer]
            work.change.add(adapter.weight_name(projection), projection, change)
            self._written(work, layer, columns)
            work.progress("layers")(number + 1, len(layers))

    def _columns(self, keys: Tensor) -> Tensor:
        """Return the `(m, n)` keys of requests from those of their rows, meant over contexts."""
        templates = self.templates or ()
        weights = torch.tensor(weights_of(templates), dtype=torch.float64, device=keys.device)
        by_request = keys.double().view(-1, len(weights), keys.shape[-1])
        return torch.einsum("ntm,t->mn", by_request, weights)

    def _factor(self, layer: int, ridge: float, like: Tensor) -> Tensor:
        return self.known_moments.factor(layer, ridge).to(like.device)


class MemitParams(SpreadParams):
    """MEMIT's hyper-parameters."""

    moment_weight: float = Field(default=15_000.0, gt=0)
    """How many typical keys are held to their values for each edited one (lambda)."""

    ridge: float = Field(default=1e-4, ge=0)
    """Added to the second moment's diagonal, as a share of its mean."""


class Memit(SpreadEditor):
    """Mass-Editing Memory in a Transformer: thousands of facts by regularized least squares."""

    name = "memit"
    summary = "many facts at once, spread over several layers by least squares"
    Params = MemitParams

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._grams: dict[int, KeyGram] = {}

    @classmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return the layers and settings for a model."""
        return presets.memit(shape)

    def _gram(self, work: Work, layer: int, like: Tensor) -> KeyGram:
        params = work.params
        if layer not in self._grams:
            factor = self._factor(layer, params.ridge, like)
            self._grams[layer] = KeyGram(len(factor), factor=factor, scale=params.moment_weight)
        return self._grams[layer]

    def _change(self, work: Work, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        return self._gram(work, layer, keys).change(keys, residuals)


class MemitSeq(Memit):
    """MEMIT that also holds the keys of its earlier batches to their values."""

    name = "memit-seq"
    summary = "MEMIT for batch after batch: earlier ones are held too"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._loaded: dict[str, Tensor] = {}

    def _gram(self, work: Work, layer: int, like: Tensor) -> KeyGram:
        fresh = layer not in self._grams
        gram = super()._gram(work, layer, like)
        if fresh:
            gram.load(part_of(self._loaded, layer))
        return gram

    def _written(self, work: Work, layer: int, keys: Tensor) -> None:
        self._gram(work, layer, keys).add(keys)

    def state(self) -> dict[str, Tensor]:
        """Return the keys of past edits by layer."""
        return joined(self._grams) if self._grams else dict(self._loaded)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Remember those keys instead."""
        self._loaded, self._grams = dict(state), {}


class EmmetParams(SpreadParams):
    """EMMET's hyper-parameters."""

    moment_weight: float = Field(default=15_000.0, gt=0)
    """Factor of the second moment (lambda); without an inner ridge it makes no difference."""

    inner_ridge: float = Field(default=0.1, ge=0)
    """Added to the diagonal of K^T (lambda C)^-1 K: how far equality may be missed."""

    ridge: float = Field(default=1e-4, ge=0)
    """Added to the second moment's diagonal, as a share of its mean."""


class Emmet(SpreadEditor):
    """ROME's equality for a batch: every key yields its vector, at least cost to other keys."""

    name = "emmet"
    summary = "ROME's exact insertion for a whole batch, spread over layers"
    Params = EmmetParams

    @classmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return the layers and settings for a model."""
        return presets.memit(shape)

    def _change(self, work: Work, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        params = work.params
        factor = self._factor(layer, params.ridge, keys)
        return solves.emmet(keys, residuals, factor, params.inner_ridge * params.moment_weight)


class AlphaEditParams(SpreadParams):
    """AlphaEdit's hyper-parameters."""

    threshold: float = Field(default=2e-2, gt=0)
    """Eigenvalue of the second moment below which a direction counts as free; it depends on the
    scale of the model's keys."""

    energy: float | None = Field(default=None, gt=0, lt=1)
    """Instead of `threshold`: the free directions hold at most this share of the energy."""

    l2: float = Field(default=10.0, gt=0)
    """Weight of the change's own norm."""


class AlphaEdit(SpreadEditor):
    """Null-space constrained editing: only directions that other keys hardly have are changed."""

    name = "alphaedit"
    summary = "MEMIT within the null space of what is to be kept; remembers earlier batches"
    Params = AlphaEditParams

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._grams: dict[int, KeyGram] = {}
        self._loaded: dict[str, Tensor] = {}

    @classmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return the layers and settings for a model."""
        return presets.alphaedit(shape)

    def _free(self, work: Work, layer: int, keys: Tensor) -> Tensor:
        """Return the part of `(m, n)` keys that lies in a layer's free directions."""
        params, moments = work.params, self.known_moments
        threshold = params.threshold
        if params.energy is not None:
            threshold = moments.threshold(layer, params.energy)
        space = moments.null_space(layer, threshold)
        warning = ""
        if space.rank == 0:
            warning = (
                f"layer {layer} has no direction below {threshold:g}, so nothing changes there: "
                "raise `threshold`, or set `energy`"
            )
        elif moments.tokens < len(keys):
            warning = (
                f"second moments over {moments.tokens} tokens leave directions of layer "
                f"{layer} unseen, and what is stored there is not protected: collect more text"
            )
        if warning and warning not in work.warnings:
            work.warnings.append(warning)
        return space.project(keys)

    def _gram(self, layer: int, size: int, l2: float) -> KeyGram:
        if layer not in self._grams:
            self._grams[layer] = KeyGram(size, scale=l2)
            self._grams[layer].load(part_of(self._loaded, layer))
        return self._grams[layer]

    def _change(self, work: Work, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        gram = self._gram(layer, len(keys), work.params.l2)
        return gram.change(self._free(work, layer, keys), residuals)

    def _written(self, work: Work, layer: int, keys: Tensor) -> None:
        gram = self._gram(layer, len(keys), work.params.l2)
        gram.add(self._free(work, layer, keys))

    def state(self) -> dict[str, Tensor]:
        """Return the parts of past edits' keys in the free directions, by layer."""
        return joined(self._grams) if self._grams else dict(self._loaded)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Remember those keys instead."""
        self._loaded, self._grams = dict(state), {}


def joined(grams: Mapping[int, KeyGram]) -> dict[str, Tensor]:
    """Return the states of the grams of layers as one."""
    return {
        f"{layer}.{name}": tensor
        for layer, gram in grams.items()
        for name, tensor in gram.state().items()
    }


def part_of(state: Mapping[str, Tensor], layer: int) -> dict[str, Tensor]:
    """Return the state of one layer's gram."""
    prefix = f"{layer}."
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
