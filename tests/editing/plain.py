"""The algorithms in their plain form, to hold the fast one against.

One request at a time, every layer at every step, every position through the vocabulary head, each
row by itself and without padding. Ids are the only thing that is shared with the editors.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from scr.editing.prompts import encode, locate


class PlainTarget(NamedTuple):
    start: Tensor
    delta: Tensor
    loss: float
    steps: int


def optimize_target(
    adapter: Any, tokenizer: Any, asked: Any, layer: int, site: str, templates: Any, params: Any
) -> PlainTarget:
    """The vector that makes the model say one request's target."""
    model = adapter.model
    module = adapter.mlps[layer] if site == "mlp_out" else adapter.layers[layer]
    contexts = [encode(tokenizer, asked, template) for template in templates]
    ids, last = locate(tokenizer, f"{asked.subject} is a", 0, asked.subject)
    seen: dict[str, Tensor] = {}

    def run(row: list[int], place: int, delta: Tensor | None) -> Tensor:
        def hook(module: Any, args: Any, output: Any) -> Any:
            states = output[0] if isinstance(output, tuple) else output
            seen["states"] = states.detach()
            if delta is None:
                return output
            states = states.clone()
            states[0, place] = states[0, place] + delta
            return (states, *output[1:]) if isinstance(output, tuple) else states

        handle = module.register_forward_hook(hook)
        try:
            return model(input_ids=torch.tensor([row]), use_cache=False).logits[0]
        finally:
            handle.remove()

    run(contexts[0].prompt, contexts[0].subject_last, None)
    start = seen["states"][0, contexts[0].subject_last].clone()
    delta = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=params.rate)
    before = None
    for step in range(params.steps):
        losses = []
        for encoded in contexts:
            scores = run(encoded.ids, encoded.subject_last, delta).log_softmax(-1)
            wanted = [scores[p, t] for p, t in zip(encoded.places, encoded.target, strict=True)]
            losses.append(-torch.stack(wanted).mean())
        now = run(ids, last, delta)[last].log_softmax(-1)
        before = now.detach() if before is None else before
        divergence = torch.nn.functional.kl_div(before, now, log_target=True, reduction="sum")
        loss = torch.stack(losses).mean() + params.kl_factor * divergence
        loss = loss + params.weight_decay * delta.norm() / start.norm() ** 2
        if loss.item() < 0.05 or step == params.steps - 1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            if delta.norm() > params.clamp * start.norm():
                delta.mul_(params.clamp * start.norm() / delta.norm())
    return PlainTarget(start, delta.detach(), loss.item(), step + 1)


def read(model: Any, module: Any, ids: list[int], place: int, *, key: bool) -> Tensor:
    """A module's input (`key`) or output at one place of one text, nothing padded."""
    seen: list[Tensor] = []

    def hook(module: Any, args: Any, output: Any) -> None:
        states = args[0] if key else output[0] if isinstance(output, tuple) else output
        seen.append(states.detach()[0, place].clone())

    handle = module.register_forward_hook(hook)
    try:
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]), use_cache=False)
    finally:
        handle.remove()
    return seen[0]


def second_moment(model: Any, module: Any, rows: list[list[int]]) -> Tensor:
    """The mean of `k k^T` over every token of every row."""
    products = [
        torch.outer(key, key)
        for row in rows
        for place in range(len(row))
        for key in [read(model, module, row, place, key=True)]
    ]
    return torch.stack(products).mean(0)


def mean_key(adapter: Any, tokenizer: Any, asked: Any, layer: int, templates: Any) -> Tensor:
    """The key of a request: meant within each group of templates, then over the groups."""
    groups = []
    for group in templates:
        keys = []
        for template in group:
            encoded = encode(tokenizer, asked, template)
            module = adapter.projections[layer]
            keys.append(read(adapter.model, module, encoded.prompt, encoded.subject_last, key=True))
        groups.append(torch.stack(keys).mean(0))
    return torch.stack(groups).mean(0)
