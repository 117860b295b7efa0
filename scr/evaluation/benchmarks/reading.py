"""Cases from the fields of public edit sets: what `fields` writes, read again.

CounterFact is met in two dresses: as published (`requested_rewrite` with a prompt template), and
flat, as editing frameworks pass it on (`prompt`, `target_new`, `ground_truth`). Sources of the
fields: see `fields`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from scr.edits import EditCase, EditProbe, EditRequest, PromptStyle
from scr.facts import Fact, make_fact

Fields = Mapping[str, Any]
"""One record of a file."""

Reader = Callable[[Fields, str], EditCase]
"""Makes a case of a record; the text names it where the record does not."""


def read_counterfact(fields: Fields, name: str) -> EditCase:
    """Read a record in CounterFact's fields, as published or flat.

    Raises:
        ValueError: a field is missing or cannot be used.
    """
    if "requested_rewrite" not in fields:
        return _read_flat(fields, name)
    rewrite = _of(fields, "requested_rewrite", dict)
    subject = _of(rewrite, "subject", str)
    prefix, slot, suffix = _of(rewrite, "prompt", str).partition("{}")
    if not slot:
        raise ValueError("the prompt has no place {} for its subject")
    prefix, suffix = (part.replace("{{", "{").replace("}}", "}") for part in (prefix, suffix))
    request = EditRequest(
        id=str(fields.get("case_id", name)), prefix=prefix, subject=subject, suffix=suffix,
        target=_target(rewrite, "target_new"), old_target=_target(rewrite, "target_true"),
    )  # fmt: skip
    return EditCase(
        request=request,
        relation=_text(rewrite, "relation_id"),
        question=request.prompt,
        rephrases=tuple(_probe(t, subject, request.target) for t in _texts(fields, "paraphrase")),
        # The neighbors share the old target; whom they are about is not said apart.
        other_subject=tuple(
            _probe(text, "", request.old_target or "") for text in _texts(fields, "neighborhood")
        ),
        same_target=tuple(_probe(text, "", request.target) for text in _texts(fields, "attribute")),
    )


def read_zsre(fields: Fields, name: str) -> EditCase:
    """Read a record in zsRE's fields.

    Raises:
        ValueError: a field is missing or cannot be used.
    """
    subject, question = _of(fields, "subject", str), _of(fields, "src", str)
    answers = fields.get("answers") or [fields.get("pred")]
    prefix, suffix = _around(question, subject)
    request = EditRequest(
        id=name, prefix=prefix, subject=subject if suffix is not None else question,
        suffix=suffix or "", target=_of(fields, "alt", str),
        old_target=str(answers[0]) if answers and answers[0] else None,
    )  # fmt: skip
    unrelated = _text(fields, "loc").removeprefix("nq question: ")
    if unrelated and not unrelated.endswith("?"):
        unrelated += "?"
    return EditCase(
        request=request,
        relation="",
        question=question,
        rephrases=_probes(_text(fields, "rephrase"), subject, request.target, "question"),
        unrelated=_probes(unrelated, "", _text(fields, "loc_ans"), "question"),
    )


def fact_of(case: EditCase, labels: Mapping[str, str]) -> Fact:
    """Return the fact that an edit asks for, what its case asks about it as its tests.

    Raises:
        InvalidInput: it cannot be a fact.
    """
    request = case.request
    prompt = case.question
    relation = labels.get(case.relation, case.relation)
    stays = (*case.other_subject, *case.unrelated)
    fields: dict[str, object] = {
        "relation": relation,
        "target": request.target,
        "statement": f"{prompt} {request.target}" + ("" if prompt.endswith("?") else "."),
        "questions": [prompt],
        "must_fire": [probe.text for probe in case.rephrases],
        "must_not_fire": [probe.text for probe in stays],
        "note": f"was: {request.old_target}" if request.old_target else "",
    }
    return make_fact(subject=_subject(case), **fields)


def _subject(case: EditCase) -> str:
    """Return what a case is about; a rephrase names it where the request's prompt does not."""
    whole = case.request.subject == case.question
    return case.rephrases[0].subject if whole and case.rephrases else case.request.subject


def reader_of(fields: object) -> Reader | None:
    """Return what reads a record with these fields; `None` if it is of none of the sets."""
    if isinstance(fields, Mapping):
        return next((read for keys, read in _SETS if keys <= fields.keys()), None)
    return None


def _read_flat(fields: Fields, name: str) -> EditCase:
    subject, prompt = _of(fields, "subject", str), _of(fields, "prompt", str)
    prefix, suffix = _around(prompt, subject)
    old = _text(fields, "ground_truth")
    request = EditRequest(
        id=str(fields.get("case_id", name)), prefix=prefix,
        subject=subject if suffix is not None else prompt, suffix=suffix or "",
        target=_of(fields, "target_new", str), old_target=old or None,
    )  # fmt: skip
    rephrase, unrelated = _text(fields, "rephrase_prompt"), _text(fields, "locality_prompt")
    return EditCase(
        request=request,
        relation=_text(fields, "relation_id"),
        question=prompt,
        rephrases=_probes(rephrase, subject, request.target),
        other_subject=_probes(unrelated, "", _text(fields, "locality_ground_truth")),
    )


def _around(prompt: str, subject: str) -> tuple[str, str | None]:
    """Return what stands before and after the subject; `None` after it where it is not there."""
    before, found, after = prompt.partition(subject)
    return (before, after) if found else ("", None)


def _probe(text: str, subject: str, answer: str, style: PromptStyle | None = None) -> EditProbe:
    told: PromptStyle = "question" if text.rstrip().endswith("?") else "cloze"
    return EditProbe(text=text, style=style or told, subject=subject, answer=answer)


def _probes(
    text: str, subject: str, answer: str, style: PromptStyle | None = None
) -> tuple[EditProbe, ...]:
    return (_probe(text, subject, answer, style),) if text.strip() else ()


def _target(rewrite: Fields, name: str) -> str:
    return str(_of(_of(rewrite, name, dict), "str", str))


def _texts(fields: Fields, name: str) -> list[str]:
    found = fields.get(f"{name}_prompts") or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError(f"{name}_prompts is no list of texts")
    return found


def _text(fields: Fields, name: str) -> str:
    return str(_of(fields, name, str)) if fields.get(name) else ""


def _of(fields: Fields, name: str, kind: type[Any]) -> Any:
    value = fields.get(name)
    if not isinstance(value, kind) or not value:
        named = "object" if kind is dict else "text"
        raise ValueError(f"has no {name}" if not value else f"{name} is no {named}")
    return value


_SETS: Final[tuple[tuple[frozenset[str], Reader], ...]] = (
    (frozenset({"requested_rewrite"}), read_counterfact),
    (frozenset({"prompt", "target_new", "subject"}), read_counterfact),
    (frozenset({"src", "alt", "subject"}), read_zsre),
)
"""The fields that tell a set, and what reads it."""
