"""The first edit metrics, by hand-made replies and by a model whose answers are known."""

from collections.abc import Sequence

import pytest

from scr.edits import EditCase, EditProbe, EditRequest
from scr.errors import InvalidInput
from scr.evaluation.benchmarks import LabWorldBenchmark
from scr.evaluation.editing import CHANGING, STAYING, Reply, ask, probes_of, score, summarize

CASE = EditCase(
    request=EditRequest(
        id="c1",
        prefix="The capital of ",
        subject="Kestria",
        suffix=" is",
        target="Arosa",
        old_target="Nyborg",
    ),
    relation="capital",
    question="What is the capital of Kestria?",
    rephrases=(
        EditProbe(text="Name Kestria's capital.", subject="Kestria", answer="Arosa"),
        EditProbe(text="Kestria is ruled from", style="cloze", subject="Kestria", answer="Arosa"),
    ),
    other_subject=(
        EditProbe(text="What is the capital of Ubrea?", subject="Ubrea", answer="Nyborg"),
        EditProbe(text="What is the capital of Hestia?", subject="Hestia", answer="Tornio"),
    ),
    unrelated=(EditProbe(text="Who wrote Dune?", subject="Dune", answer="Herbert"),),
)


def _replies(**texts):
    return {group: [Reply(text=text) for text in given] for group, given in texts.items()}


BEFORE = _replies(
    edit=["Nyborg", "Nyborg"],
    rephrases=["Nyborg", "Nyborg"],
    other_subject=["Nyborg", "Sandvika"],
    unrelated=["Herbert"],
)


def test_each_metric_is_the_share_its_name_says():
    after = {
        "edit": [
            Reply(text="Arosa.", nll_new=1.0, nll_old=2.0, forced=1.0),  # the question
            Reply(text="Nyborg", nll_new=3.0, nll_old=2.0, forced=0.5),  # the edited prompt
        ],
        "rephrases": [
            Reply(text="arosa", nll_new=1.0, nll_old=2.0),
            Reply(text="Arosa", nll_new=1.0, nll_old=2.0),
        ],
        "other_subject": [
            Reply(text="Arosa", nll_new=1.0, nll_old=2.0),
            Reply(text="Sandvika", nll_new=1.0, nll_old=9.0),
        ],
        "unrelated": [Reply(text="Herbert")],
    }
    assert score(CASE, BEFORE, after) == {
        "reliability": 0.5,
        "generality": 1.0,
        "reliability_forced": 0.75,
        "efficacy": 0.0,
        "paraphrase": 1.0,
        "neighborhood": 0.0,  # of the one prompt that shares the old target
        "locality": pytest.approx(2 / 3),
        "other_subject": 0.5,
        "unrelated": 1.0,
        "kept": 0.5,  # of the two that were right before
    }


def test_swapping_new_and_old_turns_efficacy_and_neighborhood_round():
    replies = {
        "edit": [Reply(text="", nll_new=1.0, nll_old=2.0)] * 2,
        "rephrases": [Reply(text="")] * 2,
        "other_subject": [Reply(text="", nll_new=1.0, nll_old=2.0)] * 2,
        "unrelated": [Reply(text="")],
    }
    swapped = {
        group: [Reply(text="", nll_new=r.nll_old, nll_old=r.nll_new) for r in given]
        for group, given in replies.items()
    }
    one, other = (score(CASE, BEFORE, shown) for shown in (replies, swapped))
    assert (one["efficacy"], other["efficacy"]) == (1.0, 0.0)
    assert (one["neighborhood"], other["neighborhood"]) == (0.0, 1.0)


class Oracle:
    """A `LanguageModel` that knows each probe's answer, before or after the edits."""

    def __init__(self, cases: Sequence[EditCase], *, edited: bool) -> None:
        self._edited = edited
        self._answers = {}
        for case in cases:
            for group in CHANGING:
                for probe in probes_of(case, group):
                    new = case.request.target if edited else case.request.old_target
                    self._answers[probe.text] = new
        for case in cases:
            for group in STAYING:
                for probe in probes_of(case, group):
                    self._answers.setdefault(probe.text, probe.answer)

    def answer(self, chats):
        return [self._answers[chat[-1]["content"]] for chat in chats]

    def complete(self, texts):
        return [f"{self._answers[text]}." for text in texts]

    def nll(self, prompts, targets):
        texts = [p if isinstance(p, str) else p[-1]["content"] for p in prompts]
        return [
            0.0 if self._answers[text] == target else 5.0
            for text, target in zip(texts, targets, strict=True)
        ]

    def token_accuracy(self, prompts, targets):
        return [float(nll == 0) for nll in self.nll(prompts, targets)]


@pytest.fixture(scope="module")
def cases():
    return list(LabWorldBenchmark(n=40, size=2000)())


def test_a_perfect_edit_scores_one_everywhere(cases):
    before, after = (ask(Oracle(cases, edited=edited), cases) for edited in (False, True))
    scores = [score(*given) for given in zip(cases, before, after, strict=True)]
    summary = summarize(scores)
    assert summary.cases == 40
    assert summary.conditions.decoding == "autoregressive"
    assert summary.metrics.keys() >= {"efficacy", "generality", "locality", "neighborhood"}
    for name, estimate in summary.metrics.items():
        # Where one edit's question is another's neighbor, both cannot be right at once.
        assert estimate.mean > 0.97, name
        assert estimate.low <= estimate.mean <= estimate.high


def test_no_edit_keeps_everything_and_changes_nothing(cases):
    replies = ask(Oracle(cases, edited=False), cases)
    scores = [score(*given) for given in zip(cases, replies, replies, strict=True)]
    summary = summarize(scores).metrics
    assert summary["locality"].mean == summary["kept"].mean == 1.0
    assert summary["reliability"].mean == summary["efficacy"].mean == 0.0
    assert summary["reliability_forced"].mean == summary["generality_forced"].mean == 0.0
    assert summary["other_relation"].mean == summary["unrelated"].mean == 1.0
    assert summary["neighborhood"].mean == 1.0


def test_the_benchmark_yields_the_same_cases_every_time(cases):
    benchmark = LabWorldBenchmark(n=40, size=2000)
    assert list(benchmark()) == cases
    assert benchmark.name == "labworld-0-2000-test-40-0"
    assert list(LabWorldBenchmark(n=40, size=2000, seed=1)()) != cases


def test_cases_of_one_id_are_kept_apart(cases):
    first, second = ask(Oracle(cases, edited=True), [cases[0], cases[0]])
    assert first == second
    assert {group: len(replies) for group, replies in first.items()} == {
        group: len(probes_of(cases[0], group)) for group in first
    }


def test_a_case_without_an_old_target_is_refused():
    case = CASE.model_copy(update={"request": CASE.request.model_copy(update={"old_target": None})})
    with pytest.raises(InvalidInput, match="no old target"):
        ask(Oracle([CASE], edited=True), [case])
