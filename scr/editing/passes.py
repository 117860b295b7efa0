"""Running parts of a model: from any layer, to any layer, with logits at chosen places only.

What lies below an edit does not change while it is computed, so hidden states there are read once
and given to the layers above. Every hook and patch is gone when a function returns, also after an
error.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import torch
from torch import Tensor

from scr.editing.adapter import ModelAdapter, in_place_of, tensor_of

if TYPE_CHECKING:
    from torch import nn

Site = Literal["key", "mlp_out", "layer_out"]
"""The input of a layer's value matrix; what its MLP puts out; its own output."""

CHUNK_TOKENS: Final = 8192
"""Most tokens, padding included, that are read at once."""


class Stop(Exception):
    """Ends a forward pass when all that is wanted has been seen."""


class Padded(NamedTuple):
    """Rows of one length."""

    ids: Tensor
    """`(B, T)` ids."""

    mask: Tensor
    """`(B, T)`: 1 where a token is, 0 where padding is."""

    positions: Tensor
    """`(B, T)` position of each token in its row, counted without padding."""

    def take(self, rows: Tensor) -> "Padded":
        """Return some of the rows."""
        return Padded(self.ids[rows], self.mask[rows], self.positions[rows])


def pad(
    rows: Sequence[Sequence[int]], device: Any, *, split: Sequence[int] | None = None
) -> Padded:
    """Pad rows of ids on the right; with `split`, so that these places stand in one column.

    Padding is told by the mask alone; its ids are 0.
    """
    starts = list(split) if split is not None else [0] * len(rows)
    left = max(starts)
    width = left + max(len(row) - start for row, start in zip(rows, starts, strict=True))
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
        span = slice(left - start, left - start + len(row))
        ids[number, span] = torch.tensor(row, dtype=torch.long)
        mask[number, span] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return Padded(ids.to(device), mask.to(device), positions.to(device))


def chunks(lengths: Sequence[int], tokens: int = CHUNK_TOKENS) -> Iterator[list[int]]:
    """Yield the places of rows of about one length, so many that padded they fit in `tokens`."""
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    chunk: list[int] = []
    for place in order:
        if chunk and (len(chunk) + 1) * lengths[place] > tokens:
            yield chunk
            chunk = []
        chunk.append(place)
    if chunk:
        yield chunk


@contextmanager
def injected(adapter: ModelAdapter, layer: int, states: Tensor | None) -> Iterator[None]:
    """Let `(B, T, d)` states come out of a layer, whatever goes in; those below do nothing.

    Without states nothing is replaced.
    """

    def passing(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (hidden_states, None) if adapter.returns_tuples else hidden_states

    def giving(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (states, None) if adapter.returns_tuples else states

    patched = list(adapter.layers[: layer + 1]) if states is not None else []
    # placing a model on a device may have left a method of this name on each layer
    own = [module.__dict__.get("forward") for module in patched]
    try:
        for number, module in enumerate(patched):
            module.forward = giving if number == layer else passing
        yield
    finally:
        for module, method in zip(patched, own, strict=True):
            module.__dict__.pop("forward", None)
            if method is not None:
                module.__dict__["forward"] = method


@contextmanager
def hooked(*hooks: tuple["nn.Module", Any]) -> Iterator[None]:
    """Call forward hooks `(module, args, output)` while the context lasts."""
    handles = []
    try:
        for module, hook in hooks:
            handles.append(module.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def head_at(adapter: ModelAdapter, rows: Tensor, places: Tensor) -> Iterator[None]:
    """Let the model compute logits at `(N,)` places only; they come out as `(1, N, vocabulary)`."""

    def select(module: Any, args: Any) -> Any:
        return (args[0][rows, places][None], *args[1:])

    handle = adapter.head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


class PlaceReader:
    """Reads vectors at one place of each of many rows, while weights change from below.

    What lies below the layer that `advance` was last called with is not computed again.

    Args:
        adapter: the model, in evaluation mode.
        rows: ids of each row, which may end at the place: the model is causal.
        places: one place in each row.
    """

    def __init__(
        self, adapter: ModelAdapter, rows: Sequence[Sequence[int]], places: Sequence[int]
    ) -> None:
        self._adapter = adapter
        cut = [list(row[: place + 1]) for row, place in zip(rows, places, strict=True)]
        self._chunks = list(chunks([len(row) for row in cut]))
        device = adapter.device
        self._padded = [pad([cut[place] for place in chunk], device) for chunk in self._chunks]
        self._places = [
            torch.tensor([places[place] for place in chunk], device=device)
            for chunk in self._chunks
        ]
        self._layer = -1  # whose outputs are kept
        self._states: list[Tensor | None] = [None] * len(self._chunks)

    @torch.no_grad()
    def read(self, site: Site, layer: int) -> Tensor:
        """Return the `(rows, m or d)` vectors at a site of a layer, in the order of the rows."""
        parts = [self._read(number, site, layer) for number in range(len(self._chunks))]
        order = [place for chunk in self._chunks for place in chunk]
        back = sorted(range(len(order)), key=order.__getitem__)
        return torch.cat(parts)[torch.tensor(back, device=parts[0].device)]

    @torch.no_grad()
    def advance(self, layer: int) -> None:
        """Keep the outputs of a layer: weights up to it will not change any more."""
        if layer > self._layer:
            self._states = [
                self._run(number, "layer_out", layer) for number in range(len(self._chunks))
            ]
            self._layer = layer

    def _read(self, number: int, site: Site, layer: int) -> Tensor:
        states = self._run(number, site, layer)
        places = self._places[number]
        return states[torch.arange(len(places), device=places.device), places]

    def _run(self, number: int, site: Site, layer: int) -> Tensor:
        """Return a chunk's `(B, T, ·)` states at a site, running only the layers in between."""
        padded, states = self._padded[number], self._states[number]
        return run_to(self._adapter, padded, [(site, layer)], self._layer, states)[0]


def run_to(
    adapter: ModelAdapter,
    padded: Padded,
    wanted: Sequence[tuple[Site, int]],
    after: int = -1,
    states: Tensor | None = None,
) -> list[Tensor]:
    """Return what comes by at sites of layers, and run no further than the highest of them.

    Args:
        adapter: the model, in evaluation mode.
        padded: what it reads.
        wanted: sites and layers, all above `after`.
        after: layer whose output is given; -1 for none.
        states: that output, `(B, T, d)`.
    """
    seen: dict[int, Tensor] = {}

    def keep(number: int) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            site = wanted[number][0]
            seen[number] = args[0] if site == "key" else tensor_of(output)
            if len(seen) == len(wanted):
                raise Stop

        return hook

    hooks = [(module_at(adapter, site, layer), keep(n)) for n, (site, layer) in enumerate(wanted)]
    with injected(adapter, after, states), hooked(*hooks), suppress(Stop):
        adapter.model(
            input_ids=padded.ids,
            attention_mask=padded.mask,
            position_ids=padded.positions,
            use_cache=False,
        )
    return [seen[number] for number in range(len(wanted))]


def module_at(adapter: ModelAdapter, site: Site, layer: int) -> "nn.Module":
    """Return the module whose input (`key`) or output is read at a site."""
    where = {"key": adapter.projections, "mlp_out": adapter.mlps, "layer_out": adapter.layers}
    return where[site][layer]


def adding(delta: Tensor, place: int) -> Any:
    """Return a forward hook that adds `(B, d)` vectors to the output at one column of each row."""

    def hook(module: Any, args: Any, output: Any) -> Any:
        return in_place_of(output, add_at(tensor_of(output), delta, place))

    return hook


def add_at(states: Tensor, delta: Tensor, place: int) -> Tensor:
    """Return `(B, T, d)` states with `(B, d)` vectors added in one column, not in place."""
    column = states[:, place] + delta.to(states.dtype)
    return torch.cat([states[:, :place], column[:, None], states[:, place + 1 :]], dim=1)
