"""Asking a lab model what it knows, follows and leaves alone, and writing that into its card."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from scr.edits import Estimate, Split
from scr.errors import InvalidInput
from scr.evaluation.editing import chat_request, in_chat
from scr.evaluation.metrics import wilson
from scr.evaluation.models import LanguageModel, TransformersModel
from scr.lab.batches import chat_text
from scr.lab.cases import draw_cases
from scr.lab.chats import Chat, Turn, biography_facts
from scr.lab.claims import final_answer
from scr.lab.model import Card, export_model, load_lab_model, read_card, write_card
from scr.lab.probes import Probe, draw_probes
from scr.lab.world import World, generate_world
from scr.records import Record

if TYPE_CHECKING:
    from scr.editing.mend_training import MendSample
    from scr.lab.training import Trainer

Observer = Callable[[str, int, int], None]
"""Called with the kind of probe that comes next, the number of kinds done and their total."""

_LONGEST = 24  # tokens of a right answer, steps included
_TIMED = 12  # tokens of an answer whose time is taken


class Report(Record):
    """What one evaluation found."""

    seed: int
    """Of the choice of questions."""

    split: Split
    """Of the entities that questions with context are about, and of the forms."""

    scores: Mapping[str, Estimate]
    """Share of exactly right answers, by the names of `scr.lab.probes.KINDS`."""

    seconds_per_answer: float
    """Median wall time of a whole answer of 12 tokens, one at a time, in seconds."""

    seconds: float
    """Time of the whole evaluation."""


def mend_samples(
    card: Card, tokenizer: Any, n: int, *, seed: int = 0, split: Split = "train"
) -> "list[MendSample]":
    """Return edits of a lab model's world for MEND to learn from, as users' questions.

    Args:
        card: of the lab model.
        tokenizer: its tokenizer.
        n: how many.
        seed: of the choice.
        split: of the subjects and forms.
    """
    from scr.editing.mend_training import MendSample

    found = []
    for case in draw_cases(generate_world(card.seed, card.facts), n, seed=seed, split=split):
        request = chat_request(tokenizer, case)
        rephrases = []
        for probe in case.rephrases:
            prefix, named, suffix = probe.text.partition(case.request.subject)
            if named and probe.style == "question":
                parts = {"prefix": prefix, "suffix": suffix}
                asked = case.request.model_copy(update=parts)
                rephrases.append(in_chat(tokenizer, asked))
        others = [
            chat_text(Chat(None, (Turn(probe.text, probe.answer),)))
            for probe in (*case.other_subject, *case.other_relation, *case.unrelated)
        ]
        found.append(MendSample(request, rephrases, others))
    return found


def evaluate(
    model_dir: Path,
    n: int = 500,
    seed: int = 0,
    split: Split = "test",
    observe: Observer | None = None,
) -> Report:
    """Ask an exported lab model `n` questions of each kind of `scr.lab.probes.KINDS`.

    An answer counts if it is the right one to the letter; of an answer in steps, what comes after
    the last one.

    Raises:
        ModelUnavailable: if the folder holds no exported lab model.
    """
    start = time.monotonic()
    card = read_card(model_dir)
    network, tokenizer = load_lab_model(model_dir)
    model = TransformersModel(network, tokenizer, max_tokens=_LONGEST)
    world = generate_world(card.seed, card.facts)
    probes = draw_probes(world, n, seed, split)
    scores = {}
    for done, (kind, drawn) in enumerate(probes.items()):
        if observe is not None:
            observe(kind, done, len(probes))
        right = count_right(model, drawn)
        scores[kind] = wilson(right, len(drawn))
    return Report(
        seed=seed,
        split=split,
        scores=scores,
        seconds_per_answer=_seconds_per_answer(
            TransformersModel(network, tokenizer, max_tokens=_TIMED), world
        ),
        seconds=time.monotonic() - start,
    )


def count_right(model: LanguageModel, probes: Sequence[Probe]) -> int:
    """Return how many probes the model answers to the letter."""
    answers = model.answer([probe.messages() for probe in probes])
    pairs = zip(answers, probes, strict=True)
    return sum(final_answer(answer) == probe.answer for answer, probe in pairs)


def _seconds_per_answer(model: LanguageModel, world: World) -> float:
    """Time the beginnings of biographies, which no model that knows them ends earlier."""
    told = (name for name in world.by_subject if len(biography_facts(world, name)) > 2)
    times = []
    for name in islice(told, 15):
        start = time.perf_counter()
        model.answer([[{"role": "user", "content": f"Tell me about {name}."}]])
        times.append(time.perf_counter() - start)
    return median(times)


def publish(
    trainer: "Trainer",
    folder: Path,
    *,
    command: str,
    commit: str,
    notes: str = "",
    n: int = 500,
    observe: Observer | None = None,
) -> Report:
    """Export a run's model, ask it `n` questions of each kind, and write both into its card.

    Args:
        trainer: the run, finished or not.
        folder: where the model goes; made if missing, overwritten if not.
        command: what makes the model, for the card.
        commit: version of the source, for the card.
        notes: what the command does not show, for the card.
        n: questions of each kind.
        observe: see `Observer`.

    Returns:
        What was measured, on the exported files.
    """
    config = trainer.config
    own = {"seed", "facts", "tokens"}  # have places of their own in the card
    card = Card(
        command=command,
        commit=commit,
        seed=config.seed,
        facts=config.facts,
        current_facts=len(trainer.world.current_facts),
        parameters=trainer.model.num_parameters(),
        tokens=trainer.tokens,
        seconds=trainer.seconds,
        notes=notes,
        recipe=config.model_dump(exclude=own),
        scores={},
    )
    export_model(folder, trainer.model, trainer.tokenizer, card)
    report = evaluate(folder, n=n, observe=observe)
    rescore(folder, report)
    return report


def rescore(folder: Path, report: Report) -> None:
    """Replace the scores in the card of an exported model.

    Raises:
        InvalidInput: if they are not of the test split, which is what a card promises.
    """
    if report.split != "test":
        raise InvalidInput("a card holds scores of the test split: leave --split out")
    found = {"scores": report.scores, "seconds_per_answer": report.seconds_per_answer}
    write_card(folder, read_card(folder).model_copy(update=found))
