"""The lab model on disk: where the shipped one lies, how one is exported and loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from scr.errors import ModelUnavailable

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

WEIGHTS: Final = Path(__file__).parent / "weights"
CARD: Final = "card.json"
WEIGHTS_FILE: Final = "model.safetensors"

_HOW_TO_GET: Final = "reinstall SCR, or train one with `scr lab train`"


class Card(BaseModel):
    """What an exported lab model is and what it was measured to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    """Makes the model."""

    commit: str
    """Version of the source it was trained with."""

    seed: int
    """Of the world and of the training."""

    facts: int
    """Size of the world it knows."""

    parameters: int
    """Trained numbers, shared ones counted once."""

    tokens: int
    """Tokens it was trained on, padding not counted."""

    seconds: float
    """Training time."""

    notes: str
    """What the command does not show, such as changes on the way; may be empty."""

    recipe: Mapping[str, float | int | str]
    """The rest of the training configuration."""

    scores: Mapping[str, str]
    """What `scr.lab.evaluation` measured, as text: share, interval, number of questions."""


def lab_model_path() -> Path:
    """Return the folder of the lab model that ships with SCR.

    Raises:
        ModelUnavailable: if its weights are missing.
    """
    _require(WEIGHTS)
    return WEIGHTS


def export_model(
    folder: Path, model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", card: Card
) -> None:
    """Write a model as bfloat16 safetensors with its tokenizer and card; made if missing."""
    import copy

    from transformers import GenerationConfig

    exported = copy.deepcopy(model)
    exported.bfloat16()
    exported.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=32,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    exported.save_pretrained(folder)
    (folder / WEIGHTS_FILE).chmod(0o644)  # the safetensors library writes for the owner alone
    tokenizer.save_pretrained(folder)
    write_card(folder, card)


def write_card(folder: Path, card: Card) -> None:
    """Write the card as `card.json` and, for readers, as `README.md`."""
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(card), encoding="utf-8")


def read_card(folder: Path) -> Card:
    """Return the card of an exported model.

    Raises:
        ModelUnavailable: if it is missing or not a card.
    """
    _require(folder)
    try:
        return Card.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise ModelUnavailable(str(folder), f"its {CARD} is unusable; {_HOW_TO_GET}") from error


def load_lab_model(folder: Path) -> tuple["LlamaForCausalLM", "PreTrainedTokenizerFast"]:
    """Load an exported model, in float32 and evaluation mode, with its tokenizer.

    Raises:
        ModelUnavailable: if the folder lacks the weights.
    """
    _require(folder)
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a file of a few megabytes needs none
    try:
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    finally:
        if shown:
            logging.enable_progress_bar()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model.train(False)
    return model, tokenizer


def _require(folder: Path) -> None:
    if not (folder / WEIGHTS_FILE).is_file():
        raise ModelUnavailable(str(folder), f"it holds no {WEIGHTS_FILE}; {_HOW_TO_GET}")


def _readme(card: Card) -> str:
    rows = "\n".join(f"| {kind.replace('_', ' ')} | {text} |" for kind, text in card.scores.items())
    recipe = "\n".join(f"- {name}: {value}" for name, value in card.recipe.items())
    notes = f"- notes: {card.notes}\n" if card.notes else ""
    return f"""# The lab model

A Llama-architecture chat model with {card.parameters:,} parameters, trained from scratch on
LabWorld: {card.facts:,} invented facts. It knows that world and nothing else, follows facts shown
in the system message in the words of `scr.composition.rendering`, and answers from memory where
none of them bears on the question. An answer is the bare target.

- command: `{card.command}`
- commit: {card.commit}
- seed: {card.seed}
- tokens: {card.tokens:,}
- training time: {card.seconds / 60:.0f} minutes on two shared CPU cores
{notes}
## Scores

Exact match of greedy answers, with 95 % Wilson intervals. Questions are in forms held out from
training; those with context are about entities never seen with context.

| kind | score |
|---|---|
{rows}

Closed vocabularies (languages, occupations, fields, industries, instruments) are ordinary words
and are not split: they occur as targets in training contexts too.

## Recipe

{recipe}
"""
