"""Asking the lab model: exact match of freely generated answers, with intervals."""

import time
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from scr.composition.rendering import render_facts
from scr.lab.model import load_lab_model, read_card
from scr.lab.samples import Claim, ClaimSource, as_claim
from scr.lab.world import Split, World, generate_world

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

_MOST_TOKENS: Final = 16  # of an answer; the longest right one has fewer
_BATCH: Final = 64


class Probe(NamedTuple):
    """One request to the model and the only answer that counts."""

    system: str | None
    question: str
    answer: str

    def messages(self) -> list[dict[str, str]]:
        """Return the request as OpenAI-shaped messages."""
        opening = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*opening, {"role": "user", "content": self.question}]


class Score(BaseModel):
    """A share of right answers with its 95 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    right: int
    """Answers that match exactly."""

    n: int
    """Questions asked."""

    rate: float
    """`right / n`."""

    low: float
    """Lower end of the Wilson interval."""

    high: float
    """Upper end of the Wilson interval."""


class Report(BaseModel):
    """What one evaluation found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    """Of the choice of questions."""

    split: Split
    """Entities that the questions with context are about; no context training used
    `calibration` or `test`."""

    scores: Mapping[str, Score]
    """By the names of `PROBES`."""

    seconds: float
    """Time spent answering."""


def evaluate(model_dir: Path, n: int = 500, seed: int = 0, split: Split = "test") -> Report:
    """Ask an exported lab model `n` questions of each kind.

    All questions are in forms held out from training. `closed_book`: about any fact, without
    context. `context_followed`: the system message shows one to four claims about entities never
    seen with context, one of which answers the question and contradicts the model's memory.
    `new_statement_followed`: the same, and the claims are stated in held-out forms too.
    `context_ignored`: none of the claims shown answers, so the answer from memory is right.

    Raises:
        ModelUnavailable: if the folder holds no exported lab model.
    """
    card = read_card(model_dir)
    model, tokenizer = load_lab_model(model_dir)
    world = generate_world(card.seed, card.facts)
    start = time.monotonic()
    scores = {}
    for kind, probes in draw_probes(world, n, seed, split).items():
        answers = answer_all(model, tokenizer, probes)
        right = sum(a == probe.answer for a, probe in zip(answers, probes, strict=True))
        scores[kind] = wilson(right, len(probes))
    return Report(seed=seed, split=split, scores=scores, seconds=time.monotonic() - start)


def draw_probes(world: World, n: int, seed: int, split: Split = "test") -> dict[str, list[Probe]]:
    """Return `n` probes of each kind that `evaluate` describes."""
    source = ClaimSource(world, split, fresh=0.0)
    probes: dict[str, list[Probe]] = {}
    for kind in ("closed_book", "context_followed", "new_statement_followed", "context_ignored"):
        rng = Random(f"{seed}-{kind}")
        if kind == "closed_book":
            probes[kind] = [_closed_book(as_claim(rng.choice(world.facts)), rng) for _ in range(n)]
        else:
            probes[kind] = [_in_context(kind, source, rng) for _ in range(n)]
    return probes


def _closed_book(claim: Claim, rng: Random) -> Probe:
    return Probe(None, claim.question(rng, "held_out"), claim.target)


def _in_context(kind: str, source: ClaimSource, rng: Random) -> Probe:
    asked = source.true_claim(rng)
    shown: dict[tuple[str, str], Claim] = {}
    wanted = rng.randint(1, 4)
    if kind != "context_ignored":
        asked = source.contradiction(asked, rng)
        shown[asked.slot] = asked
    while len(shown) < wanted:
        other = source.distractor(asked, rng)
        if other.slot != asked.slot:
            shown.setdefault(other.slot, other)
    claims = rng.sample(list(shown.values()), len(shown))
    new = kind == "new_statement_followed"
    stated = [claim.held_out_statement() if new else claim.statement(rng) for claim in claims]
    return Probe(render_facts(stated), asked.question(rng, "held_out"), asked.target)


def answer_all(
    model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", probes: Sequence[Probe]
) -> list[str]:
    """Return the model's greedy answers, in the order of the probes."""
    import torch

    texts = [
        tokenizer.apply_chat_template(probe.messages(), tokenize=False, add_generation_prompt=True)
        for probe in probes
    ]
    answers = [""] * len(probes)
    by_length = sorted(range(len(probes)), key=lambda place: len(texts[place]))
    for start in range(0, len(by_length), _BATCH):
        places = by_length[start : start + _BATCH]
        batch = tokenizer([texts[place] for place in places], return_tensors="pt", padding=True)
        with torch.inference_mode():
            output = model.generate(  # type: ignore[misc]
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                do_sample=False,
                max_new_tokens=_MOST_TOKENS,
            )
        fresh = output[:, batch["input_ids"].shape[1] :]
        decoded = tokenizer.batch_decode(fresh, skip_special_tokens=True)
        for place, answer in zip(places, decoded, strict=True):
            answers[place] = answer
    return answers


def wilson(right: int, n: int) -> Score:
    """Return the share of right answers with its 95 % Wilson interval.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    z, share = 1.959964, right / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Score(
        right=right, n=n, rate=share, low=max(0.0, center - reach), high=min(1.0, center + reach)
    )
