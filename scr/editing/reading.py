"""Edit requests and texts from files, as people write them."""

import json
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel, Field, ValidationError

from scr.edits import EditRequest
from scr.errors import InvalidInput
from scr.facts import explain

SLOT: Final = "{}"
"""Stands for the subject in a prompt."""

_FIELDS: Final = {"prompt", *EditRequest.model_fields}
_SHOWN: Final = 20  # problems in a message


def read_requests(lines: Iterable[str | bytes], *, name: str = "") -> list[EditRequest]:
    """Read one request from each line that is not blank.

    A line has `prefix`, `subject`, `suffix` and `target`, or `prompt`, `subject` and `target`; a
    prompt holds the subject once, or `{}` in its place. `id` (by default the number of the line)
    and `old_target` may be given.

    Args:
        lines: of UTF-8 JSON.
        name: of the file, for messages.

    Raises:
        InvalidInput: naming every line that cannot be used.
    """
    requests: list[EditRequest] = []
    problems: list[str] = []
    first_with: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            request = read_request(parse_line(line), str(number))
            if (first := first_with.setdefault(request.id, number)) != number:
                raise InvalidInput(f"its id {request.id!r} is that of line {first}")
            requests.append(request)
        except (InvalidInput, ValidationError) as error:
            reason = explain(error) if isinstance(error, ValidationError) else str(error)
            problems.append(f"  line {number}: {reason}")
    where = f"{name}: " if name else ""
    if problems:
        more = f"\n  … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        shown = "\n".join(problems[:_SHOWN])
        count = f"{len(problems)} unusable request{'s' if len(problems) > 1 else ''}"
        raise InvalidInput(f"{where}{count}; nothing was edited\n{shown}{more}")
    if not requests:
        raise InvalidInput(f"{where}there is no request: give one JSON object a line")
    return requests


def read_request(given: Any, number: str) -> EditRequest:
    """Return the request that a line's JSON is; see `read_requests`.

    Raises:
        InvalidInput: if it is none.
        ValidationError: likewise.
    """
    if not isinstance(given, dict):
        raise InvalidInput("it is no JSON object")
    unknown = sorted(set(given) - _FIELDS)
    if unknown:
        raise InvalidInput(
            f"it has unknown fields {', '.join(unknown)} (known: {', '.join(sorted(_FIELDS))})"
        )
    if type(given.get("id")) is int:  # as benchmarks number theirs
        given = {**given, "id": str(given["id"])}
    if "prompt" in given:
        if {"prefix", "suffix"} & set(given):
            raise InvalidInput("give prompt, or prefix and suffix, not both")
        parts = _InPrompt.model_validate({n: given.get(n) for n in _InPrompt.model_fields})
        prefix, suffix = split_prompt(parts.prompt, parts.subject)
        given = {n: v for n, v in given.items() if n != "prompt"}
        given |= {"prefix": prefix, "suffix": suffix}
    return EditRequest(**{"id": number, "prefix": "", "suffix": "", **given})


def parse_line(line: str | bytes) -> Any:
    """Return the JSON of a line.

    Raises:
        InvalidInput: if it is none.
    """
    try:
        return json.loads(line)
    except UnicodeDecodeError as error:
        raise InvalidInput("it is no UTF-8") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"it is no JSON ({error.msg})") from error
    except RecursionError as error:
        raise InvalidInput("it is nested too deeply to be a request") from error


class _InPrompt(BaseModel):
    prompt: str
    subject: str = Field(min_length=1)


def split_prompt(prompt: str, subject: str) -> tuple[str, str]:
    """Return what stands before and after the subject of a prompt.

    Args:
        prompt: holds the subject once, or `{}` in its place.
        subject: what the prompt is about.

    Raises:
        InvalidInput: if it is not there, or it is not clear where.
    """
    slots, named = _places(prompt, SLOT), _places(prompt, subject)
    if subject != SLOT and slots and named:
        raise InvalidInput(
            f"the prompt has both {subject!r} and '{SLOT}' in it, so it is not clear which is the "
            "subject: give prefix, subject and suffix instead"
        )
    for part, places in ((SLOT, slots), (subject, named)):
        if len(places) > 1:
            raise InvalidInput(
                f"{part!r} stands {len(places)} times in the prompt: give prefix, subject and "
                "suffix instead"
            )
        if places:
            return prompt[: places[0]], prompt[places[0] + len(part) :]
    raise InvalidInput(f"the subject {subject!r} is not in the prompt {prompt!r}")


def _places(text: str, part: str) -> list[int]:
    """Return where a part stands in a text, also where it overlaps itself."""
    return [n for n in range(len(text)) if text.startswith(part, n)] if part else []


def read_texts(lines: Iterable[bytes], *, name: str, as_json: bool) -> list[str]:
    """Return the texts of a corpus, one from each line that is not blank.

    Args:
        lines: of UTF-8.
        name: of the file, for messages.
        as_json: whether each line is a JSON string, or an object with a string in `text`.

    Raises:
        InvalidInput: naming the first line that cannot be used.
    """
    texts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            text = json.loads(line) if as_json else line.decode()
        except (ValueError, RecursionError) as error:
            what = "JSON" if as_json else "UTF-8"
            raise InvalidInput(f"{name}, line {number}: it is no {what}") from error
        if isinstance(text, dict):
            text = text.get("text")
        if not isinstance(text, str):
            raise InvalidInput(f'{name}, line {number}: give a string, or {{"text": …}}')
        texts.append(text.rstrip("\r\n"))
    if not texts:
        raise InvalidInput(f"{name} holds no text: give one a line")
    return texts
