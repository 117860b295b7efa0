"""Next tokens of a causal language model, one at a time. Knows nothing of text or messages."""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scr.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn."""

    temperature: float
    """Divides the logits; 0 always takes the most probable token."""

    max_tokens: int
    """Most tokens of the answer."""

    seed: int | None
    """Seed of the draws; `None` is a new one."""

    stop: tuple[str, ...]
    """Strings at which the answer ends."""


def generate_tokens(
    network: Any, prompt: "Tensor", sampling: Sampling, lock: AbstractContextManager[Any]
) -> Iterator[int]:
    """Yield the ids of the tokens that follow a prompt, end-of-turn tokens among them.

    Args:
        network: a transformers model with a language-model head.
        prompt: `(1, T)` token ids on the network's device.
        sampling: how to draw; draws do not touch torch's global random state.
        lock: held for each token's forward pass, never while the caller has the token.

    Raises:
        InvalidInput: the prompt is empty, or fills the positions that the model has.
    """
    import torch

    room = _room(network, prompt.shape[1], sampling.max_tokens)
    generator = None
    if sampling.temperature > 0:
        generator = torch.Generator(device=prompt.device)
        if sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed(sampling.seed)
    takes = inspect.signature(network.forward).parameters
    options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
    read = step = prompt
    for _ in range(room):
        with lock, torch.inference_mode():
            output = network(input_ids=step, **options)
            token = _choose(output.logits[0, -1], sampling.temperature, generator)
        yield token
        step = torch.tensor([[token]], device=prompt.device)
        read = torch.cat([read, step], dim=1)
        cache = getattr(output, "past_key_values", None)
        if "past_key_values" in takes and cache is not None:
            options["past_key_values"] = cache
        else:  # an architecture without this cache reads everything again
            step = read


def positions_of(network: Any) -> int | None:
    """Return how many tokens a model reads and writes in all; `None` if nothing limits them."""
    positions: int | None = getattr(
        network.config.get_text_config(), "max_position_embeddings", None
    )
    return positions


def _room(network: Any, length: int, wanted: int) -> int:
    """Return how many tokens can follow a prompt of `length` tokens."""
    positions = positions_of(network)
    if not length:
        raise InvalidInput("the prompt is empty; give at least one message with words in it")
    if positions is None:
        return wanted
    if length >= positions:
        raise InvalidInput(
            f"the prompt has {length} tokens, but the model has {positions} positions and needs "
            "some for its answer; shorten the messages"
        )
    return min(wanted, positions - length)


def _choose(logits: "Tensor", temperature: float, generator: "Generator | None") -> int:
    """Return one id by `(V,)` logits."""
    import torch

    if generator is None:
        return int(logits.argmax())
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    return int(torch.multinomial(probabilities, 1, generator=generator))
