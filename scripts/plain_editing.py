"""ROME and MEMIT as the papers' code runs them: one request at a time, whole passes, whole logits.

The yardstick of `bench_editing.py`, and an independent account of the algorithms for the tests. It
shares with `scr.editing` only where modules are found and how prompts become ids.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from scr.editing.adapter import ModelAdapter, in_place_of, tensor_of
from scr.editing.passes import Site, hooked, module_at, pad
from scr.editing.prompts import encode, locate
from scr.editing.targets import ENOUGH, TargetParams
from scr.edits import EditRequest


def target(
    adapter: ModelAdapter,
    tokenizer: Any,
    request: EditRequest,
    *,
    layer: int,
    site: Site,
    templates: Sequence[str],
    params: TargetParams,
) -> Tensor:
    """Return the `(d,)` target vector of one request."""
    encoded = [encode(tokenizer, request, template) for template in templates]
    ids, last = locate(tokenizer, f"{request.subject} is a", 0, request.subject)
    rows = [[*e.ids] for e in encoded] + [ids]
    places = torch.tensor([e.subject_last for e in encoded] + [last], device=adapter.device)
    batch = pad(rows, adapter.device)
    work = torch.float64 if adapter.model.dtype == torch.float64 else torch.float32
    delta = torch.zeros(adapter.shape.width, device=adapter.device, dtype=work, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=params.rate)
    starts: list[Tensor] = []
    before: Tensor | None = None
    every = torch.arange(len(rows), device=adapter.device)

    def add(module: Any, args: Any, output: Any) -> Any:
        states = tensor_of(output)
        if not starts:
            starts.append(states[0, places[0]].detach().clone().to(work))
        states = states.clone()
        states[every, places] = states[every, places] + delta.to(states.dtype)
        return in_place_of(output, states)

    for step in range(params.steps):
        with hooked((module_at(adapter, site, layer), add)):
            logits = adapter.model(input_ids=batch.ids, attention_mask=batch.mask).logits
        scores = logits.to(work).log_softmax(-1)
        each = [
            -scores[row, list(e.places)].gather(1, torch.tensor(e.target)[:, None]).mean()
            for row, e in enumerate(encoded)
        ]
        now = scores[-1, last]
        before = now.detach() if before is None else before
        kl = (now.exp() * (now - before)).sum()
        decay = params.weight_decay * delta.norm() / starts[0].norm() ** 2
        loss = torch.stack(each).mean() + params.kl_factor * kl + decay
        if loss.item() < ENOUGH or step == params.steps - 1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        radius = params.clamp * starts[0].norm()
        with torch.no_grad():
            if delta.norm() > radius:
                delta.mul_(radius / delta.norm())
    return starts[0] + delta.detach()


@torch.no_grad()
def vectors(
    adapter: ModelAdapter,
    tokenizer: Any,
    request: EditRequest,
    *,
    layer: int,
    site: Site,
    templates: Sequence[str],
) -> Tensor:
    """Return the `(templates, m or d)` vectors at the subject's last token, by whole passes."""
    encoded = [encode(tokenizer, request, template) for template in templates]
    batch = pad([e.prompt for e in encoded], adapter.device)
    seen: list[Tensor] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        seen.append(args[0] if site == "key" else tensor_of(output))

    with hooked((module_at(adapter, site, layer), keep)):
        adapter.model(input_ids=batch.ids, attention_mask=batch.mask)
    return torch.stack([seen[0][row, e.subject_last] for row, e in enumerate(encoded)])


def rome(
    adapter: ModelAdapter,
    tokenizer: Any,
    request: EditRequest,
    *,
    layer: int,
    templates: Sequence[str],
    params: TargetParams,
    moment: Tensor,
) -> Tensor:
    """Return ROME's `(d, m)` change for one request."""
    where = {"layer": layer, "templates": templates}
    wanted = target(adapter, tokenizer, request, site="mlp_out", params=params, **where)
    keys = vectors(adapter, tokenizer, request, site="key", **where).double()
    output = vectors(adapter, tokenizer, request, site="mlp_out", **where)[0].double()
    direction = torch.linalg.solve(moment.double(), keys.mean(0))
    direction = direction / direction.norm()
    return torch.outer((wanted.double() - output) / (keys[0] @ direction), direction)


def memit(
    adapter: ModelAdapter,
    tokenizer: Any,
    request: EditRequest,
    *,
    layers: Sequence[int],
    templates: Sequence[Sequence[str]],
    params: TargetParams,
    moment_of: Callable[[int], Tensor],
    weight: float,
    add: Callable[[int, Tensor], None],
) -> list[Tensor]:
    """Return MEMIT's `(d, m)` changes for one request, put into the model by `add` as it goes."""
    flat = [template for group in templates for template in group]
    shares = [1 / len(templates) / len(group) for group in templates for _ in group]
    wanted = target(
        adapter,
        tokenizer,
        request,
        layer=layers[-1],
        site="layer_out",
        templates=flat,
        params=params,
    )
    changes = []
    for number, layer in enumerate(layers):
        keys = vectors(adapter, tokenizer, request, layer=layer, site="key", templates=flat)
        key = (torch.tensor(shares, dtype=torch.float64)[:, None] * keys.double()).sum(0)
        now = vectors(
            adapter, tokenizer, request, layer=layers[-1], site="layer_out", templates=flat[:1]
        )[0]
        residual = (wanted.double() - now.double()) / (len(layers) - number)
        whole = weight * moment_of(layer).double() + torch.outer(key, key)
        changes.append(torch.outer(residual, torch.linalg.solve(whole, key)))
        add(layer, changes[-1])
    return changes
