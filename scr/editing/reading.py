"""Edit requests from JSON lines, as people write them."""

import json
from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError

from scr.edits import EditRequest
from scr.errors import InvalidInput
from scr.facts import explain

SLOT: Final = "{}"
"""Stands for the subject in a prompt."""

_FIELDS: Final = {"id", "prompt", "prefix", "subject", "suffix", "target", "old_target"}
_SHOWN: Final = 20  # problems in a message


def read_requests(lines: Iterable[str]) -> list[EditRequest]:
    """Read one request from each line that is not blank.

    A line has `prefix`, `subject`, `suffix` and `target`, or `prompt`, `subject` and `target`; a
    prompt holds the subject once, or `{}` in its place. `id` and `old_target` may be given.

    Raises:
        InvalidInput: naming every line that cannot be used.
    """
    requests: list[EditRequest] = []
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            requests.append(_read(line, str(number)))
        except (InvalidInput, ValidationError) as error:
            reason = explain(error) if isinstance(error, ValidationError) else str(error)
            problems.append(f"  line {number}: {reason}")
    if problems:
        more = f"\n  … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        shown = "\n".join(problems[:_SHOWN])
        raise InvalidInput(f"{len(problems)} unusable requests; nothing was edited\n{shown}{more}")
    if not requests:
        raise InvalidInput("there is no request: give one JSON object a line")
    return requests


def _read(line: str, number: str) -> EditRequest:
    try:
        given: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"it is no JSON ({error.msg})") from error
    if not isinstance(given, dict):
        raise InvalidInput("it is no JSON object")
    unknown = sorted(set(given) - _FIELDS)
    if unknown:
        raise InvalidInput(f"it has unknown fields {', '.join(unknown)}")
    if "prompt" in given:
        if {"prefix", "suffix"} & set(given):
            raise InvalidInput("give prompt, or prefix and suffix, not both")
        prefix, suffix = split_prompt(str(given.pop("prompt")), str(given.get("subject", "")))
        given |= {"prefix": prefix, "suffix": suffix}
    return EditRequest(**{"id": number, "prefix": "", "suffix": "", **given})


def split_prompt(prompt: str, subject: str) -> tuple[str, str]:
    """Return what stands before and after the subject of a prompt.

    Raises:
        InvalidInput: if it is not there, or twice.
    """
    for slot in (SLOT, subject):
        if slot and prompt.count(slot) == 1:
            prefix, _, suffix = prompt.partition(slot)
            return prefix, suffix
        if slot and prompt.count(slot) > 1:
            raise InvalidInput(
                f"{slot!r} stands {prompt.count(slot)} times in the prompt: give prefix, subject "
                "and suffix instead"
            )
    raise InvalidInput(f"the subject {subject!r} is not in the prompt {prompt!r}")
