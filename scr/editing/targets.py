"""The vectors that edits want: what a layer should put out for the model to say the new target.

Many requests at once, each stopping by itself. Positions before the subject's last token, and
layers up to the edited one, do not depend on what is optimized: they are read once. Logits are
computed only where something is predicted.

Sources: Meng et al. 2022, "Locating and Editing Factual Associations in GPT", arXiv:2202.05262,
equation 4; Meng et al. 2023, "Mass-Editing Memory in a Transformer", arXiv:2210.07229, equation 16.
Their code, which others compare with, differs from the papers in the weight decay: the norm of the
change is not squared there, and not here.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from transformers import DynamicCache

from scr.editing.adapter import ModelAdapter, tensor_of
from scr.editing.passes import (
    Padded,
    add_at,
    adding,
    head_at,
    hooked,
    injected,
    module_at,
    pad,
)
from scr.editing.prompts import Encoded, encode, locate
from scr.edits import EditRequest
from scr.errors import EditFailed

ENOUGH: Final = 0.05
"""Loss below which a request is done, in nats."""

_MEMORY: Final = {"cpu": 2**29, "cuda": 2**32}  # bytes for what a chunk keeps for its gradient
_PER_STATE: Final = 200  # bytes kept for each component of each position in each layer, about
_PER_LOGIT: Final = 20


class TargetParams(BaseModel):
    """How target vectors are optimized."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: int = Field(default=20, ge=1)
    """Forward passes; there is one Adam step less."""

    rate: float = Field(default=0.5, gt=0)
    """Adam's learning rate."""

    weight_decay: float = Field(default=0.5, ge=0)
    """Weight of the change's norm over the squared norm of what it changes."""

    clamp: float = Field(default=4.0, gt=0)
    """Most the change's norm may be, as a share of the norm of what it changes."""

    kl_factor: float = Field(default=0.0625, ge=0)
    """Weight of the divergence of what follows the bare subject."""


class Targets(NamedTuple):
    """What was optimized, one row for each request."""

    start: Tensor
    """`(n, d)` what the model puts out for the bare prompt."""

    delta: Tensor
    """`(n, d)` the change of it."""

    losses: list[float]
    """Last loss of each request, in nats."""

    nlls: list[float]
    """The part of it that is the target's mean negative log-probability per token."""

    steps: list[int]
    """Forward passes of each."""

    @property
    def wanted(self) -> Tensor:
        """`(n, d)` what the model should put out."""
        return self.start + self.delta


def optimize_targets(
    adapter: ModelAdapter,
    tokenizer: object,
    requests: Sequence[EditRequest],
    *,
    layer: int,
    site: Literal["mlp_out", "layer_out"],
    templates: Sequence[str],
    params: TargetParams,
    observe: Callable[[int, int], None] | None = None,
) -> Targets:
    """Find for each request the vector that makes the model say its target.

    Minimized is the target's mean negative log-probability per token, meant over the contexts,
    plus `kl_factor` times the divergence KL(now || before) of what follows the subject in
    "SUBJECT is a", plus the weight decay.

    Args:
        adapter: the model, in evaluation mode with gradients of its parameters off.
        tokenizer: its tokenizer.
        requests: what to say.
        layer: where the vector is put out.
        site: by its MLP (ROME) or by the layer (MEMIT).
        templates: contexts; the first is the bare one, whose vector is changed.
        params: how.
        observe: called with the number of requests done and their total.

    Raises:
        EditFailed: if a loss is no number.
    """
    rows = [_rows(tokenizer, request, templates) for request in requests]
    parts: list[tuple[list[int], Targets]] = []
    done = 0
    for chunk in _chunks(adapter, rows, adapter.depth - layer):
        part = _Optimization(adapter, [rows[n] for n in chunk], layer, site, params).run()
        losses = zip(chunk, part.losses, strict=True)
        broken = [requests[n].id for n, loss in losses if not math.isfinite(loss)]
        if broken:
            raise EditFailed(
                f"the loss of request {broken[0]} is not finite: the model overflows there; "
                "load it in float32 or bfloat16"
            )
        parts.append((chunk, part))
        done += len(chunk)
        if observe is not None:
            observe(done, len(rows))
    return _in_order(parts)


class _Rows(NamedTuple):
    """What one request reads: its prompt in each context, and the subject alone."""

    contexts: list[Encoded]
    subject_ids: list[int]
    subject_last: int

    @property
    def split(self) -> list[tuple[list[int], int]]:
        """Ids of each row and the place of the subject's last token."""
        return [
            *((encoded.ids, encoded.subject_last) for encoded in self.contexts),
            (self.subject_ids, self.subject_last),
        ]

    @property
    def predictions(self) -> int:
        return sum(len(encoded.target) for encoded in self.contexts) + 1


def _rows(tokenizer: object, request: EditRequest, templates: Sequence[str]) -> _Rows:
    contexts = [encode(tokenizer, request, template) for template in templates]
    ids, last = locate(tokenizer, f"{request.subject} is a", 0, request.subject, request.id)
    return _Rows(contexts, ids[: last + 1], last)


def _chunks(adapter: ModelAdapter, rows: Sequence[_Rows], layers: int) -> list[list[int]]:
    """Put together requests of about one length, as many as fit in memory."""
    budget = _MEMORY.get(adapter.device.type, _MEMORY["cpu"])
    per_prediction = _PER_LOGIT * adapter.model.config.get_text_config().vocab_size
    per_position = _PER_STATE * adapter.shape.width * layers
    longest = [max(len(ids) - last for ids, last in row.split) for row in rows]
    order = sorted(range(len(rows)), key=lambda n: longest[n])
    found: list[list[int]] = []
    used = 0
    for n in order:
        more = rows[n].predictions * per_prediction
        more += len(rows[n].split) * longest[n] * per_position
        if not found or used + more > budget:
            found.append([])
            used = 0
        found[-1].append(n)
        used += more
    return found


def _in_order(parts: Sequence[tuple[list[int], Targets]]) -> Targets:
    order = [n for chunk, _ in parts for n in chunk]
    back = sorted(range(len(order)), key=order.__getitem__)
    index = torch.tensor(back, device=parts[0][1].delta.device)

    def flat(lists: Sequence[list[float]]) -> list[float]:
        joined = [value for values in lists for value in values]
        return [joined[n] for n in back]

    return Targets(
        torch.cat([part.start for _, part in parts])[index],
        torch.cat([part.delta for _, part in parts])[index],
        flat([part.losses for _, part in parts]),
        flat([part.nlls for _, part in parts]),
        [int(n) for n in flat([[float(s) for s in part.steps] for _, part in parts])],
    )


class _Optimization:
    """One chunk of requests. Columns before `_left` are fixed and kept as keys and values."""

    def __init__(
        self,
        adapter: ModelAdapter,
        rows: Sequence[_Rows],
        layer: int,
        site: Literal["mlp_out", "layer_out"],
        params: TargetParams,
    ) -> None:
        self.adapter, self.params = adapter, params
        self.layer, self.site = layer, site
        self.count = len(rows)
        device = adapter.device
        split = [pair for row in rows for pair in row.split]
        lasts = [place for _, place in split]
        self.whole = pad([ids for ids, _ in split], device)
        self.batch = pad([ids for ids, _ in split], device, split=lasts)
        self.lasts = torch.tensor(lasts, device=device)
        self.left = max(lasts)
        owners, at, columns, labels, shares = [], [], [], [], []
        self.subject_rows: list[int] = []
        number = 0
        for owner, row in enumerate(rows):
            for encoded in row.contexts:
                for place, label in zip(encoded.places, encoded.target, strict=True):
                    at.append(number)
                    columns.append(place - encoded.subject_last)
                    labels.append(label)
                    shares.append(1 / len(encoded.target) / len(row.contexts))
                    owners.append(owner)
                number += 1
            self.subject_rows.append(number)
            number += 1
        self.bare_rows = [0, *(row + 1 for row in self.subject_rows[:-1])]
        self.owner_of_row = torch.tensor(
            [owner for owner, row in enumerate(rows) for _ in row.split], device=device
        )
        self.at = torch.tensor(at, device=device)
        self.columns = torch.tensor(columns, device=device)
        self.labels = torch.tensor(labels, device=device)
        self.owners = torch.tensor(owners, device=device)
        self.work = torch.float64 if adapter.model.dtype == torch.float64 else torch.float32
        self.shares = torch.tensor(shares, device=device, dtype=self.work)

    def run(self) -> Targets:
        self._read_below()
        params = self.params
        delta = torch.zeros_like(self.start, requires_grad=True)
        optimizer = torch.optim.Adam([delta], lr=params.rate)
        radius = params.clamp * self.start.norm(dim=1)
        final = torch.zeros_like(self.start)
        losses, nlls, steps = ([0.0] * self.count for _ in range(3))
        active = torch.ones(self.count, dtype=torch.bool, device=self.start.device)
        before: Tensor | None = None
        for step in range(params.steps):
            nll, subject = self._forward(delta, active)
            if before is None:
                before = subject.detach()
            loss = nll + params.kl_factor * _divergence(subject, before[active])
            squared = self.start[active].norm(dim=1) ** 2
            loss = loss + params.weight_decay * delta[active].norm(dim=1) / squared
            last = step == params.steps - 1
            over = (loss.detach() < ENOUGH) | ~loss.detach().isfinite()
            for place, owner in enumerate(active.nonzero().flatten().tolist()):
                losses[owner], nlls[owner] = loss[place].item(), nll[place].item()
                steps[owner] = step + 1
                if last or over[place]:
                    final[owner] = delta.detach()[owner]
            if last or over.all():
                break
            optimizer.zero_grad()
            (gradient,) = torch.autograd.grad(loss[~over].sum(), delta)
            delta.grad = gradient
            optimizer.step()
            with torch.no_grad():
                norm = delta.norm(dim=1)
                delta.mul_((radius / norm.clamp(min=1e-30)).clamp(max=1)[:, None])
            active = active.clone()
            active[active.nonzero().flatten()[over]] = False
        return Targets(self.start, final, losses, nlls, [int(count) for count in steps])

    @torch.no_grad()
    def _read_below(self) -> None:
        """Keep what does not change: states below, keys and values of earlier positions."""
        adapter = self.adapter
        # where a norm follows the MLP, its layer is run again and only what is below it is kept
        direct = self.site == "layer_out" or adapter.additive
        self.boundary = self.layer if direct else self.layer - 1
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> object:
            def hook(module: object, args: object, output: object) -> None:
                seen[name] = tensor_of(output)

            return hook

        hooks = [(module_at(adapter, self.site, self.layer), keep("site"))]
        if self.boundary >= 0:
            hooks.append((adapter.layers[self.boundary], keep("below")))
        cache = DynamicCache()
        first = torch.zeros(1, dtype=torch.long, device=adapter.device)
        with hooked(*hooks), head_at(adapter, first, first):
            adapter.model(
                input_ids=self.whole.ids,
                attention_mask=self.whole.mask,
                position_ids=self.whole.positions,
                past_key_values=cache,
                use_cache=True,
            )
        # padding is moved from the right of each row to the left of the subject's last token; had
        # it been there in the pass, it would have attended to nothing, which some kernels make NaN
        width = self.batch.ids.shape[1]
        shift = torch.arange(width, device=adapter.device) - self.left
        source = (self.lasts[:, None] + shift).clamp(0, self.whole.ids.shape[1] - 1)  # (B, width)
        row = torch.arange(len(source), device=adapter.device)[:, None]
        suffix, prefix = source[:, self.left :], source[:, : self.left]
        self.start = seen["site"][row[:, 0], self.lasts][self.bare_rows].to(self.work)
        self.below = seen["below"][row, suffix] if self.boundary >= 0 else None
        self.kept: list[tuple[Tensor, Tensor]] = []
        layers: Sequence[Any] = cache.layers if self.left else ()
        for number, layer in enumerate(layers):
            if number <= self.boundary:  # not read, but its length is
                length = torch.zeros((len(source), 1, self.left, 1), device=adapter.device)
                self.kept.append((length, length))
            else:
                keys, values = (
                    t.transpose(1, 2)[row, prefix].transpose(1, 2)  # (B, heads, left, width)
                    for t in (layer.keys, layer.values)
                )
                self.kept.append((keys, values))
        self._selected: tuple[Tensor, object] | None = None

    def _forward(self, delta: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """Return the NLL of each active request, and the log-probabilities after its subject."""
        adapter = self.adapter
        if self._selected is None or not torch.equal(self._selected[0], active):
            self._selected = (active, self._select(active))
        chosen: _Selected = self._selected[1]  # type: ignore[assignment]
        added = delta[chosen.owner_of_row]  # (rows, d)
        rerun: AbstractContextManager[None] = nullcontext()
        if chosen.below is None or self.boundary < self.layer:
            rerun = hooked((adapter.mlps[self.layer], adding(added, 0)))
        states = chosen.below
        if states is not None and self.boundary == self.layer:
            states = add_at(states, added, 0)
        cache = DynamicCache()
        for number, (keys, values) in enumerate(chosen.kept):
            cache.update(keys, values, number)
        with (
            injected(adapter, self.boundary, states),
            rerun,
            head_at(adapter, chosen.at, chosen.columns),
        ):
            logits = adapter.model(
                input_ids=chosen.batch.ids[:, self.left :],
                attention_mask=chosen.batch.mask,
                position_ids=chosen.batch.positions[:, self.left :],
                past_key_values=cache if self.left else None,
                use_cache=bool(self.left),
            ).logits[0]
        scores = logits.to(self.work).log_softmax(-1)  # (N + requests, vocabulary)
        split = len(chosen.labels)
        each = -scores[:split].gather(1, chosen.labels[:, None])[:, 0] * chosen.shares
        count = int(active.sum())
        nll = torch.zeros(count, dtype=self.work, device=each.device)
        return nll.index_add(0, chosen.owners, each), scores[split:]

    def _select(self, active: Tensor) -> "_Selected":
        rows = active[self.owner_of_row].nonzero().flatten()
        new_row = torch.full((len(self.owner_of_row),), -1, device=rows.device)
        new_row[rows] = torch.arange(len(rows), device=rows.device)
        new_owner = active.cumsum(0) - 1
        mine = active[self.owners]
        subjects = torch.tensor(self.subject_rows, device=rows.device)[active]
        zeros = torch.zeros(len(subjects), dtype=torch.long, device=rows.device)
        return _Selected(
            self.batch.take(rows),
            self.below[rows] if self.below is not None else None,
            [(keys[rows], values[rows]) for keys, values in self.kept],
            self.owner_of_row[rows],
            torch.cat([new_row[self.at[mine]], new_row[subjects]]),
            torch.cat([self.columns[mine], zeros]),
            self.labels[mine],
            new_owner[self.owners[mine]],
            self.shares[mine],
        )


class _Selected(NamedTuple):
    """What the requests that are not done read."""

    batch: Padded
    below: Tensor | None
    kept: list[tuple[Tensor, Tensor]]
    owner_of_row: Tensor
    at: Tensor
    columns: Tensor
    labels: Tensor
    owners: Tensor
    shares: Tensor


def _divergence(now: Tensor, before: Tensor) -> Tensor:
    """Return KL(now || before) of each row of log-probabilities."""
    return (now.exp() * (now - before)).sum(-1)
