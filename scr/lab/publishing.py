"""Turning a training run into a model that others can load: export, evaluation, card."""

from pathlib import Path
from typing import Final

from scr.lab.evaluation import Report, Score, evaluate
from scr.lab.model import Card, export_model, write_card
from scr.lab.training import Trainer

_IN_CARD: Final = frozenset({"seed", "facts", "tokens"})  # have places of their own there


def publish(
    trainer: Trainer, folder: Path, *, command: str, commit: str, notes: str = "", n: int = 500
) -> Report:
    """Export a run's model, ask it `n` questions of each kind, and write both into its card.

    Args:
        trainer: the run, finished or not.
        folder: where the model goes; made if missing, overwritten if not.
        command: what makes the model, for the card.
        commit: version of the source, for the card.
        notes: what the command does not show, for the card.
        n: questions of each kind.

    Returns:
        What was measured, on the exported files.
    """
    config = trainer.config
    card = Card(
        command=command,
        commit=commit,
        seed=config.seed,
        facts=config.facts,
        parameters=trainer.model.num_parameters(),
        tokens=trainer.tokens,
        seconds=trainer.seconds,
        notes=notes,
        recipe=config.model_dump(exclude=set(_IN_CARD)),
        scores={},
    )
    export_model(folder, trainer.model, trainer.tokenizer, card)
    report = evaluate(folder, n=n)
    scores = {kind: describe(score) for kind, score in report.scores.items()}
    write_card(folder, card.model_copy(update={"scores": scores}))
    return report


def describe(score: Score) -> str:
    """Return a score as text: share, interval and number of questions."""
    return f"{score.rate:.3f} [{score.low:.3f}, {score.high:.3f}], n = {score.n}"
