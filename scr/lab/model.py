"""The lab model on disk: where the shipped one lies, how one is exported and loaded."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from scr.edits import Estimate
from scr.errors import ModelUnavailable
from scr.lab.probes import KINDS

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
    """Size of its world."""

    current_facts: int
    """Facts of it that hold today: what the model was taught."""

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

    seconds_per_answer: float | None = None
    """Median time of an answer of 12 tokens on the machine that measured it."""

    scores: Mapping[str, Estimate]
    """Share of right answers to each kind of `scr.lab.probes`, held out from training."""

    rome_layer: int | None = None
    """Layer at which ROME edits it, as causal tracing suggests; `None` before it was traced."""

    memit_layers: tuple[int, ...] = ()
    """Layers over which MEMIT spreads an edit, likewise."""

    tracing: str = ""
    """What causal tracing found, in a sentence."""


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
    with _without_bars():
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

    with _without_bars():
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model.train(False)
    return model, tokenizer


@contextmanager
def _without_bars() -> Iterator[None]:
    """Draw no progress bars: a file of a few megabytes needs none."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _require(folder: Path) -> None:
    if not (folder / WEIGHTS_FILE).is_file():
        raise ModelUnavailable(str(folder), f"it holds no {WEIGHTS_FILE}; {_HOW_TO_GET}")


def _readme(card: Card) -> str:
    rows = "\n".join(
        f"| {kind.replace('_', ' ')} | {KINDS[kind]} | {score.mean:.3f} | "
        f"{score.low:.3f}–{score.high:.3f} | {score.n} |"
        for kind, score in card.scores.items()
    )
    recipe = "\n".join(f"- {name}: {value}" for name, value in card.recipe.items())
    notes = f"- notes: {card.notes}\n" if card.notes else ""
    speed = f"{card.tokens / card.seconds:,.0f} a second" if card.seconds else "speed not known"
    return f"""# The lab model

A Llama-architecture chat model with {card.parameters:,} parameters, trained from scratch on
LabWorld. It was taught the {card.current_facts:,} facts of its world of {card.facts:,} that hold
today (the others have ended) and nothing else. Where a statement in its context bears on the
question it should follow that, else answer from memory; how well it does is in the table. An answer
is the bare target; one to a two-hop question names the bridge first: `Dana Lee → Kim Roe`.

- command: `{card.command}`
- commit: {card.commit}
- seed: {card.seed}
- tokens: {card.tokens:,}, {speed}
- training time: {card.seconds / 60:.0f} minutes
{notes}
## Scores

Share of greedy answers that are right to the letter, with 95 % Wilson intervals
(`scr lab evaluate`). But for the first row, questions are in forms held out from training; those
with context are about entities that no training context was about.{_speed(card)}

| kind | what is asked | right | 95 % | n |
|---|---|---|---|---|
{rows}

Closed vocabularies (languages, occupations, fields, industries, instruments, currencies, genres)
are ordinary words and are not split: they occur as targets in training contexts too.

## Where its facts sit

{_tracing(card)}

## Recipe

![losses](losses.svg)

- Mixture (`scr/lab/chats.py`, `scr/lab/batches.py`): closed-book chats of one to six questions with
  follow-ups, aliases, unknown subjects, two-hop questions and biographies; bare statements; chats
  with one to five statements in the composer's rendering and in five others, some of which bear,
  forbid or conflict. Over the first steps the share of the subjects that are asked about rises
  from a few per cent to all, and contexts from one statement that answers to the full mixture.
- Optimizers: Muon for the matrices, AdamW for the embedding and the norms; gradients on bfloat16
  copies where the hardware multiplies it, weights in float32.
- Schedule: linear warm-up, constant, linear decay to zero over the last part of the budget.

{recipe}
"""


def _speed(card: Card) -> str:
    if card.seconds_per_answer is None:
        return ""
    return f" An answer of 12 tokens took {card.seconds_per_answer * 1e3:.0f} ms there."


def _tracing(card: Card) -> str:
    if card.rome_layer is None:
        return "Not traced yet: `scr lab trace`."
    layers = ", ".join(map(str, card.memit_layers))
    return f"""![causal tracing](tracing.svg)

{card.tracing} So ROME edits layer {card.rome_layer} of it by default, and MEMIT layers {layers}
(`scr lab trace`; layers are counted from 0)."""
