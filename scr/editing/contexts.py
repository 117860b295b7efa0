"""Texts that stand before a prompt while it is edited, so that the edit holds in any context."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from scr.editing.adapter import ModelAdapter
from scr.editing.prompts import BARE, SLOT

BEGINNINGS: Final = ("The", "Therefore", "Because", "I", "You")
"""First words of what is sampled."""

LENGTHS: Final = (10,)
"""Tokens of the sampled texts, their first words counted: one text of each for each beginning."""

LONG_LENGTHS: Final = (5, 5, 10, 10)
"""The same for ROME, which takes twenty."""

TOP_K: Final = 5
"""How many of the most probable tokens are drawn from."""


def sample_templates(
    adapter: ModelAdapter, tokenizer: Any, *, lengths: Sequence[int] = LENGTHS, seed: int = 0
) -> tuple[tuple[str, ...], ...]:
    """Return two groups of templates: the bare one, and texts sampled from the model itself.

    Args:
        adapter: the unedited model, in evaluation mode.
        tokenizer: its tokenizer.
        lengths: tokens of the texts that go on from each of `BEGINNINGS`.
        seed: of the sampling.
    """
    generator = torch.Generator().manual_seed(seed)
    texts = []
    for length in lengths:
        for beginning in BEGINNINGS:
            ids = list(tokenizer(beginning)["input_ids"])
            if ids and ids[-1] == tokenizer.eos_token_id and len(ids) > 1:
                ids.pop()
            text = tokenizer.decode(
                _continue(adapter, ids, length, generator), skip_special_tokens=True
            )
            text = " ".join(text.translate(str.maketrans("{}", "  ")).split())
            texts.append(f"{text}. {SLOT}")
    return ((BARE,), tuple(texts))


@torch.no_grad()
def _continue(
    adapter: ModelAdapter, ids: list[int], length: int, generator: torch.Generator
) -> list[int]:
    while len(ids) < length:
        row = torch.tensor([ids], device=adapter.device)
        logits: Tensor = adapter.model(input_ids=row, use_cache=False).logits[0, -1]
        best = logits.float().cpu().topk(min(TOP_K, logits.shape[-1]))
        drawn = torch.multinomial(best.values.softmax(-1), 1, generator=generator)
        ids = [*ids, int(best.indices[drawn])]
    return ids


def weights_of(templates: Sequence[Sequence[str]]) -> list[float]:
    """Return the weight of each template, group after group: groups count alike."""
    return [1 / len(templates) / len(group) for group in templates for _ in group]
