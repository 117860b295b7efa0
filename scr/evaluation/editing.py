"""Asking about edits before and after, and turning the replies into the first metrics.

Knows nothing of how a model was changed: an editor, a prompt or nothing at all may lie between the
two. Case values come first (the mean over the prompts of a case), then means over cases.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from scr.edits import EditCase, EditProbe, EditRequest, Estimate
from scr.errors import InvalidInput
from scr.evaluation.metrics import bootstrap, efficacy, exact_match, neighborhood, unchanged
from scr.evaluation.models import Chat, LanguageModel
from scr.records import Record

Group = Literal["edit", "rephrases", "aliases", "other_subject", "other_relation", "unrelated"]

CHANGING: Final[tuple[Group, ...]] = ("edit", "rephrases", "aliases")
"""Groups whose answer is the new target."""

STAYING: Final[tuple[Group, ...]] = ("other_subject", "other_relation", "unrelated")
"""Groups whose answers the edit must leave alone."""


class Conditions(Record):
    """How replies were come by; numbers under other conditions do not compare."""

    decoding: Literal["autoregressive"] = "autoregressive"
    """Replies are generated, not scored with the gold prefix given."""

    stopping: Literal["natural"] = "natural"
    """They end where the model ends them."""

    matching: Literal["exact, normalized, with aliases"] = "exact, normalized, with aliases"
    """When a reply counts as right."""

    probabilities: Literal["mean per token, teacher-forced"] = "mean per token, teacher-forced"
    """What efficacy, paraphrase and neighborhood scores compare."""

    context: Literal["chat template"] = "chat template"
    """Questions are put as a user's message; texts to be completed are put as they are."""

    locality: Literal["own output before"] = "own output before"
    """What `locality` compares with; `kept` compares with the true answer. The divergence of
    next-token distributions is not measured."""


class Summary(Record):
    """The metrics of a set of cases, and what has to be known to compare them."""

    metrics: Mapping[str, Estimate]
    """Means over the cases that have a metric, by the names of `score`."""

    conditions: Conditions = Conditions()
    """How the replies were come by."""

    cases: int
    """Cases asked about."""

    seed: int
    """Of the bootstrap."""


class Reply(Record):
    """What a model said to one probe."""

    text: str
    """Its reply."""

    nll_new: float | None = None
    """Mean negative log-probability per token of the case's new target, in nats."""

    nll_old: float | None = None
    """The same of the old target."""

    forced: float | None = None
    """Share of the new target's tokens that are most probable with those before them given."""


COMPARED: Final[tuple[Group, ...]] = ("edit", "rephrases", "other_subject")
"""Groups on which the probabilities of the two targets are compared."""

Replies = Mapping[Group, Sequence[Reply]]
"""Replies to one case, by group and in the order of its probes."""


def chat_request(tokenizer: Any, case: EditCase) -> EditRequest:
    """Return the edit of a case as its question in a chat, as users will ask it.

    An edit of the bare cloze text reaches a chat model's answers only as far as it generalizes.

    Args:
        tokenizer: with a chat template.
        case: whose question names its subject.

    Raises:
        InvalidInput: if it does not, or there is no template.
    """
    prefix, found, suffix = case.question.partition(case.request.subject)
    if not found:
        raise InvalidInput(f"the question of case {case.request.id} does not name its subject")
    asked = case.request.model_copy(update={"prefix": prefix, "suffix": suffix})
    return in_chat(tokenizer, asked)


def in_chat(tokenizer: Any, request: EditRequest) -> EditRequest:
    """Return a request whose prompt is a user's message, as the model reads such.

    Raises:
        InvalidInput: if the tokenizer has no chat template, or it changes the message.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InvalidInput("this tokenizer has no chat template: edit the cloze prompts")
    whole: str = tokenizer.apply_chat_template(
        _chat(request.prompt), add_generation_prompt=True, tokenize=False
    )
    before, found, after = whole.rpartition(request.prompt)
    if not found:
        raise InvalidInput("this chat template does not keep messages as they are")
    return request.model_copy(
        update={"prefix": before + request.prefix, "suffix": request.suffix + after}
    )


def probes_of(case: EditCase, group: Group) -> tuple[EditProbe, ...]:
    """Return the probes of a group; `edit` is the edited prompt and its question."""
    if group != "edit":
        probes: tuple[EditProbe, ...] = getattr(case, group)
        return probes
    subject, target, aliases = case.request.subject, case.request.target, case.target_aliases
    return (
        EditProbe(text=case.question, subject=subject, answer=target, aliases=aliases),
        EditProbe(
            text=case.request.prompt,
            style="cloze",
            subject=subject,
            answer=target,
            aliases=aliases,
        ),
    )


def ask(model: LanguageModel, cases: Sequence[EditCase]) -> list[Replies]:
    """Return a model's replies to every probe of every case, in the order of the cases.

    Raises:
        InvalidInput: if a case does not say its old target, without which nothing compares.
    """
    places = list(_places(cases))
    texts = _texts(model, [probe for _, _, probe in places])
    prompts = [_prompt(probe) for _, _, probe in places]
    compared = [place for place, (_, group, _) in enumerate(places) if group in COMPARED]
    new = model.nll(
        [prompts[place] for place in compared],
        [cases[places[place][0]].request.target for place in compared],
    )
    old = model.nll(
        [prompts[place] for place in compared],
        [_old_target(cases[places[place][0]]) for place in compared],
    )
    nlls = dict(zip(compared, zip(new, old, strict=True), strict=True))
    changing = [place for place in compared if places[place][1] in CHANGING]
    accuracies = model.token_accuracy(
        [prompts[place] for place in changing],
        [cases[places[place][0]].request.target for place in changing],
    )
    forced = dict(zip(changing, accuracies, strict=True))
    replies: list[dict[Group, list[Reply]]] = [{} for _ in cases]
    for place, ((number, group, _), text) in enumerate(zip(places, texts, strict=True)):
        nll_new, nll_old = nlls.get(place, (None, None))
        reply = Reply(text=text, nll_new=nll_new, nll_old=nll_old, forced=forced.get(place))
        replies[number].setdefault(group, []).append(reply)
    return list(replies)


def score(case: EditCase, before: Replies, after: Replies) -> dict[str, float]:
    """Return the metrics of one case, each in [0, 1]; one without probes is left out.

    - `reliability`: share of the generated replies to the edited prompt and to its question that
      are the new target; `generality`, `alias`: the same of rephrases and of alias forms.
    - `reliability_forced`, `generality_forced`: share of the new target's tokens that are the most
      probable ones with those before them given: what teacher-forced evaluations report instead.
    - `efficacy`: whether the new target is more probable than the old one after the edited prompt;
      `paraphrase`: share of the rephrases of which that holds.
    - `neighborhood`: share of the questions about other subjects with the same old target to which
      that is still the more probable answer.
    - `locality`: share of all replies about other things that are what they were before;
      `other_subject`, `other_relation` and `unrelated` are its parts.
    - `kept`: share of those that were right before and are right after.

    Args:
        case: the edit.
        before: replies of the unedited model.
        after: replies of the edited one.
    """
    values: dict[str, float] = {}
    names = dict(zip(CHANGING, ("reliability", "generality", "alias"), strict=True))
    for group, name in names.items():
        _put(values, name, _right(case, group, after))
    for group in ("edit", "rephrases"):
        shares = [r.forced for r in after.get(group, ()) if r.forced is not None]
        if shares:
            values[f"{names[group]}_forced"] = sum(shares) / len(shares)
    _put(values, "efficacy", _preferences(after.get("edit", ())[1:]))  # after the question
    _put(values, "paraphrase", _preferences(after.get("rephrases", ())))
    _put(values, "neighborhood", _neighbors(case, after))
    locality, kept = [], []
    for group in STAYING:
        pairs = zip(before.get(group, ()), after.get(group, ()), strict=True)
        same = []
        for probe, (was, now) in zip(probes_of(case, group), pairs, strict=True):
            same.append(unchanged(was.text, now.text))
            if exact_match(was.text, probe.answer, probe.aliases):
                kept.append(exact_match(now.text, probe.answer, probe.aliases))
        _put(values, group, same)
        locality += same
    _put(values, "locality", locality)
    _put(values, "kept", kept)
    return values


def summarize(scores: Sequence[Mapping[str, float]], seed: int = 0) -> Summary:
    """Return the mean of each metric over the cases that have it, with its 95 % interval."""
    columns: dict[str, list[float]] = {}
    for case in scores:
        for name, value in case.items():
            columns.setdefault(name, []).append(value)
    metrics = {name: bootstrap(values, seed) for name, values in columns.items()}
    return Summary(metrics=metrics, cases=len(scores), seed=seed)


def _places(cases: Sequence[EditCase]) -> Iterator[tuple[int, Group, EditProbe]]:
    for number, case in enumerate(cases):
        for group in (*CHANGING, *STAYING):
            for probe in probes_of(case, group):
                yield number, group, probe


def _texts(model: LanguageModel, probes: Sequence[EditProbe]) -> list[str]:
    questions = [place for place, probe in enumerate(probes) if probe.style == "question"]
    clozes = [place for place, probe in enumerate(probes) if probe.style == "cloze"]
    texts = [""] * len(probes)
    answers = model.answer([_chat(probes[place].text) for place in questions])
    completions = model.complete([probes[place].text for place in clozes])
    for place, text in zip((*questions, *clozes), (*answers, *completions), strict=True):
        texts[place] = text
    return texts


def _prompt(probe: EditProbe) -> Chat | str:
    return _chat(probe.text) if probe.style == "question" else probe.text


def _chat(text: str) -> Chat:
    return [{"role": "user", "content": text}]


def _old_target(case: EditCase) -> str:
    if case.request.old_target is None:
        raise InvalidInput(
            f"case {case.request.id} has no old target: efficacy compares with it, so give one"
        )
    return case.request.old_target


def _right(case: EditCase, group: Group, replies: Replies) -> list[bool]:
    return [
        exact_match(reply.text, probe.answer, probe.aliases)
        for probe, reply in zip(probes_of(case, group), replies.get(group, ()), strict=True)
    ]


def _preferences(replies: Sequence[Reply]) -> list[bool]:
    return [
        efficacy(reply.nll_new, reply.nll_old)
        for reply in replies
        if reply.nll_new is not None and reply.nll_old is not None
    ]


def _neighbors(case: EditCase, replies: Replies) -> list[bool]:
    probes = probes_of(case, "other_subject")
    return [
        neighborhood(reply.nll_new, reply.nll_old)
        for probe, reply in zip(probes, replies.get("other_subject", ()), strict=True)
        if probe.answer == case.request.old_target
        and reply.nll_new is not None
        and reply.nll_old is not None
    ]


def _put(values: dict[str, float], name: str, outcomes: Sequence[bool]) -> None:
    if outcomes:
        values[name] = sum(outcomes) / len(outcomes)
