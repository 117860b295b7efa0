"""Edit requests as token ids: where the subject ends, where the target begins.

Ids are built once and never decoded and read again. The target's ids are what is left of the ids
of prompt and target read as one, after those of the prompt, so that a merge across the border is
the model's own.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from scr.edits import EditRequest
from scr.errors import InvalidInput

log = logging.getLogger(__name__)

SLOT: Final = "{}"
"""What a context template has where the prompt goes; nothing comes after it."""

BARE: Final = SLOT
"""The template that adds nothing."""


class Encoded(NamedTuple):
    """One request in one context."""

    prompt: list[int]
    """Ids of context and prompt, special tokens of the tokenizer included."""

    subject_last: int
    """Place of the subject's last token in `prompt`."""

    target: list[int]
    """Ids of the target; at least one."""

    @property
    def ids(self) -> list[int]:
        """What is read to predict the whole target."""
        return [*self.prompt, *self.target[:-1]]

    @property
    def places(self) -> range:
        """Positions in `ids` from which the target's tokens are predicted."""
        return range(len(self.prompt) - 1, len(self.prompt) - 1 + len(self.target))


def check_requests(
    tokenizer: Any, requests: Sequence[EditRequest], max_length: int
) -> list[EditRequest]:
    """Return the requests without repetitions, if they can be edited together.

    Raises:
        InvalidInput: if there is none, if two want different targets for one prompt, if a target
            is blank, if one is too long for the model, or the tokenizer cannot say where words are.
    """
    if not requests:
        raise InvalidInput("there is nothing to edit: give at least one request")
    if not getattr(tokenizer, "is_fast", False):
        raise InvalidInput(
            "this tokenizer does not say where in a text its tokens are: load the fast one"
        )
    wanted: dict[str, EditRequest] = {}
    for request in requests:
        if not request.target.strip() or not request.subject.strip():
            raise InvalidInput(f"request {request.id}: its target and subject must not be blank")
        rival = wanted.setdefault(request.prompt, request)
        if rival.target.strip() != request.target.strip():
            raise InvalidInput(
                f"requests {rival.id} and {request.id} contradict each other: "
                f"{request.prompt!r} cannot go on both with {rival.target!r} and with "
                f"{request.target!r}; leave one out, or apply them one after the other"
            )
    kept = list(wanted.values())
    if len(kept) < len(requests):
        log.info("%d repeated requests are left out", len(requests) - len(kept))
    for request in kept:
        length = len(encode(tokenizer, request).ids) + 1
        if length > max_length:
            raise InvalidInput(
                f"request {request.id} has {length} tokens, and the model reads {max_length}: "
                "shorten its target, or edit it in chunks"
            )
    return kept


def check_room(
    tokenizer: Any,
    requests: Sequence[EditRequest],
    templates: Sequence[Sequence[str]],
    max_length: int,
) -> None:
    """Check that requests fit into the model behind the longest context.

    Raises:
        InvalidInput: if one does not.
    """
    contexts = [template.removesuffix(SLOT) for group in templates for template in group]
    longest = max(contexts, key=lambda text: len(tokenizer(text)["input_ids"]) if text else 0)
    for request in requests:
        length = len(encode(tokenizer, request, f"{longest}{SLOT}").ids) + 1
        if length > max_length:
            raise InvalidInput(
                f"request {request.id} has {length} tokens in a context, and the model reads "
                f"{max_length}: shorten its target, or give shorter `templates`"
            )


def check_templates(templates: Sequence[Sequence[str]]) -> None:
    """Check context templates.

    Raises:
        InvalidInput: if there is none, or one does not end in its only slot.
    """
    for template in (t for group in templates for t in group):
        if not template.endswith(SLOT) or template.count(SLOT) != 1:
            raise InvalidInput(f"context template {template!r} must end in its only '{SLOT}'")
    if not templates or not all(templates):
        raise InvalidInput(f"give at least one context template; '{SLOT}' adds nothing")


def encode(tokenizer: Any, request: EditRequest, template: str = BARE) -> Encoded:
    """Return a request as ids, in a context.

    Raises:
        InvalidInput: if the tokenizer sees nothing of the subject or the target.
    """
    context = template.removesuffix(SLOT)
    text = f"{context}{request.prompt}"
    prompt, last = locate(
        tokenizer, text, len(context) + len(request.prefix), request.subject, request.id
    )
    whole = tokenizer(text + _joint(tokenizer, prompt, text, request.target))["input_ids"]
    whole = _without_end(tokenizer, whole)
    border = 0
    while border < len(prompt) and border < len(whole) and prompt[border] == whole[border]:
        border += 1
    if border < len(prompt):
        log.info("request %s: the target's first letters merge with the prompt's last", request.id)
    if border >= len(whole) or border <= last:
        raise InvalidInput(
            f"request {request.id}: the tokenizer makes nothing of target {request.target!r} "
            "of its own after this prompt; write it otherwise"
        )
    return Encoded(whole[:border], last, whole[border:])


def locate(
    tokenizer: Any, text: str, start: int, subject: str, name: str = ""
) -> tuple[list[int], int]:
    """Return a text's ids and the place of the subject's last token.

    That is the last token whose characters meet the subject's, which begin at `start`.

    Raises:
        InvalidInput: if no token does.
    """
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    end = start + len(subject)
    places = [
        place
        for place, (first, last) in enumerate(offsets)
        if first < end and last > start and last > first
    ]
    if not places:
        raise InvalidInput(f"request {name}: the tokenizer sees nothing of subject {subject!r}")
    if offsets[places[-1]][1] > end:
        log.info("request %s: the subject's last token goes on after the subject", name)
    return _without_end(tokenizer, ids), places[-1]


def _joint(tokenizer: Any, prompt: list[int], text: str, target: str) -> str:
    """Return the target with what stands before it: a space, unless the prompt has its own."""
    bare = target.lstrip(" ")
    special = prompt[-1] in tokenizer.all_special_ids
    return bare if special or not text or text[-1].isspace() else f" {bare}"


def _without_end(tokenizer: Any, ids: list[int]) -> list[int]:
    """Drop an end token that a tokenizer puts after each text."""
    if not ids or ids[-1] != tokenizer.eos_token_id:
        return list(ids)
    probe = tokenizer("a")["input_ids"]  # or the text itself ends in that token
    return list(ids[:-1]) if len(probe) > 1 and probe[-1] == ids[-1] else list(ids)
