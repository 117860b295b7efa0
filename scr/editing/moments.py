"""Second moments of keys: what a value matrix is usually asked, so that an edit can leave it alone.

One pass over a text for all layers, sums in float64; kept on disk by the hash of the weights, the
module, and the text, and gone on with after an interruption.

Source: Meng et al. 2022, arXiv:2202.05262, section 3.1 and appendix E.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from scr.editing.adapter import ModelAdapter, evaluating
from scr.editing.passes import Site, chunks, pad, run_to
from scr.editing.solves import NullSpace, cholesky, energy_threshold, null_space, with_ridge
from scr.editing.weights import fingerprint
from scr.errors import EditFailed, InvalidInput

log = logging.getLogger(__name__)

ENOUGH: Final = 10
"""Tokens for each component of a key, below which directions are told badly."""

_BATCH_TOKENS: Final = 8192
_SAVE_EVERY: Final = 20  # batches


class Moments:
    """Second moments `E[k k^T]` of the keys of some layers, with what is solved with them.

    Args:
        means: by layer, `(m, m)`.
        tokens: how many keys they are means over.

    Raises:
        EditFailed: if a moment has numbers that are not finite.
    """

    def __init__(self, means: Mapping[int, Tensor], tokens: int) -> None:
        for layer, mean in means.items():
            if not bool(mean.isfinite().all()):
                raise EditFailed(
                    f"the second moment of layer {layer} has numbers that are not finite: the "
                    "model overflows on the corpus; load it in float32 or bfloat16"
                )
        self.means = dict(means)
        self.tokens = tokens
        self._factors: dict[tuple[int, float], Tensor] = {}
        self._spaces: dict[tuple[int, float], NullSpace] = {}
        self._thresholds: dict[tuple[int, float], float] = {}

    def __getitem__(self, layer: int) -> Tensor:
        """Return the moment of a layer.

        Raises:
            InvalidInput: if it was not collected.
        """
        try:
            return self.means[layer]
        except KeyError:
            raise InvalidInput(
                f"no second moment of layer {layer} was collected (but of "
                f"{sorted(self.means)}): collect it, or edit those layers"
            ) from None

    def factor(self, layer: int, ridge: float) -> Tensor:
        """Return the Cholesky factor of a layer's moment plus `ridge` times its mean diagonal.

        Raises:
            EditFailed: if it is singular.
        """
        key = (layer, ridge)
        if key not in self._factors:
            what = f"the second moment of layer {layer} (over {self.tokens} tokens)"
            self._factors[key] = cholesky(with_ridge(self[layer], ridge), what)
        return self._factors[key]

    def null_space(self, layer: int, threshold: float) -> NullSpace:
        """Return a layer's directions below a threshold."""
        key = (layer, threshold)
        if key not in self._spaces:
            self._spaces[key] = null_space(self[layer], threshold)
        return self._spaces[key]

    def threshold(self, layer: int, share: float) -> float:
        """Return the threshold whose null space holds at most a share of the energy."""
        key = (layer, share)
        if key not in self._thresholds:
            self._thresholds[key] = energy_threshold(self[layer], share)
        return self._thresholds[key]


def collect_moments(
    adapter: ModelAdapter,
    tokenizer: Any,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    model_hash: str,
    max_length: int | None = None,
    cache: Path | None = None,
    observe: Callable[[int, int], None] | None = None,
) -> Moments:
    """Return the second moments of the keys of some layers over texts.

    Args:
        adapter: the unedited model.
        tokenizer: its tokenizer.
        texts: what it reads; each is cut to `max_length` tokens.
        layers: of which.
        model_hash: of the weights, by which what is cached is found again.
        max_length: tokens; at most what the model reads, and 1024 if not given.
        cache: folder for finished and half-finished moments; `None` keeps none.
        observe: called with the number of texts read and their total.

    Raises:
        InvalidInput: if the texts are empty.
    """
    length = min(max_length or 1024, adapter.max_length)
    run = _Run(adapter, tokenizer, texts, length, model_hash, cache)
    known = {layer: found for layer in layers if (found := run.cached(layer)) is not None}
    missing = [layer for layer in layers if layer not in known]
    if missing:
        known |= run.collect(missing, observe)
    tokens = run.tokens
    width = next(iter(known.values())).shape[0]
    if tokens < ENOUGH * width:
        log.warning(
            "second moments over %d tokens for %d components of a key: give at least %d tokens",
            tokens,
            width,
            ENOUGH * width,
        )
    return Moments(known, tokens)


def held_moments(
    adapter: ModelAdapter,
    tokenizer: Any,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    cache: Path | None,
    max_length: int | None = None,
) -> tuple[set[int], int]:
    """Return those layers whose moments over the texts are kept in a cache, and the tokens read.

    Arguments are those of `collect_moments`.

    Raises:
        InvalidInput: if the texts are empty.
    """
    length = min(max_length or 1024, adapter.max_length)
    run = _Run(adapter, tokenizer, texts, length, fingerprint(adapter.model), cache)
    return {layer for layer in layers if run.has(layer)}, run.tokens


class _Run:
    def __init__(
        self,
        adapter: ModelAdapter,
        tokenizer: Any,
        texts: Sequence[str],
        length: int,
        model_hash: str,
        cache: Path | None,
    ) -> None:
        self.adapter, self.cache = adapter, cache
        self.rows = []
        if texts:
            encoded = tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
            self.rows = [row for row in encoded if row]
        if not self.rows:
            raise InvalidInput("second moments need text: give at least one that is not empty")
        self.tokens = sum(map(len, self.rows))
        corpus = hashlib.blake2b(json.dumps(self.rows).encode(), digest_size=16).hexdigest()
        self.origin = f"{model_hash} {corpus} {length}"

    def has(self, layer: int) -> bool:
        """Return whether a layer's finished moment is kept."""
        path = self._path(f"{layer} {self._module(layer)}")
        return path is not None and path.is_file()

    def cached(self, layer: int) -> Tensor | None:
        """Return a layer's finished moment, if it is kept."""
        path = self._path(f"{layer} {self._module(layer)}")
        return _read(path, "mean")[0] if path is not None and path.is_file() else None

    def collect(
        self, layers: Sequence[int], observe: Callable[[int, int], None] | None
    ) -> dict[int, Tensor]:
        adapter = self.adapter
        batches = list(chunks([len(row) for row in self.rows], _BATCH_TOKENS))
        partial = self._path(f"partial {list(layers)}")
        sums: dict[int, Tensor] = {}
        start = 0
        if partial is not None and partial.is_file():
            held, done = _read(partial, *map(str, layers)), _read(partial, "done")[0]
            start = int(done)
            sums = {n: t.to(adapter.device) for n, t in zip(layers, held, strict=True)}
        with evaluating(adapter.model), torch.no_grad():
            for number, chunk in enumerate(batches[start:], start):
                padded = pad([self.rows[place] for place in chunk], adapter.device)
                real = padded.mask.bool()
                wanted: list[tuple[Site, int]] = [("key", layer) for layer in layers]
                for layer, keys in zip(layers, run_to(adapter, padded, wanted), strict=True):
                    flat = keys[real]  # (tokens, m)
                    flat = flat if flat.dtype == torch.float64 else flat.float()
                    product = (flat.T @ flat).double()
                    sums[layer] = sums[layer].add_(product) if layer in sums else product
                if partial is not None and (number + 1) % _SAVE_EVERY == 0:
                    count = {"done": torch.tensor(number + 1)}
                    _write(partial, {str(n): t for n, t in sums.items()} | count)
                if observe is not None:
                    read = sum(map(len, batches[: number + 1]))
                    observe(read, len(self.rows))
        means = {layer: (total / self.tokens) for layer, total in sums.items()}
        for layer, mean in means.items():
            path = self._path(f"{layer} {self._module(layer)}")
            if path is not None:
                _write(path, {"mean": mean})
        if partial is not None:
            partial.unlink(missing_ok=True)
        return means

    def _module(self, layer: int) -> str:
        return self.adapter.weight_name(self.adapter.projections[layer])

    def _path(self, what: str) -> Path | None:
        if self.cache is None:
            return None
        name = hashlib.blake2b(f"{self.origin} {what}".encode(), digest_size=16).hexdigest()
        return self.cache / f"moment-{name}.safetensors"


def _read(path: Path, *names: str) -> list[Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return [file.get_tensor(name) for name in names]
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{path} is damaged: delete it, and it is made again") from error


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, partial)
    partial.replace(path)
