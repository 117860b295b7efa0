"""Training MEND's networks on edits that are not those to be made.

Each sample is an edit with other wordings of it and texts that it must leave alone. The networks
rewrite the edit's gradient; what is minimized is the loss of the target on the edited model, asked
for in one of the wordings, and the divergence of the edited model from the unedited one on a text.

Source: Mitchell et al. 2022, arXiv:2110.11309, section 3.3 and appendix.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from scr.editing.adapter import ModelAdapter, Shape, evaluating
from scr.editing.editor import EditorParams
from scr.editing.finetune import make_batch, mean_loss, teacher_forced
from scr.editing.mend import (
    MendNetworks,
    card_for,
    edits_of,
    modules_of,
    read_factors,
)
from scr.editing.passes import Padded, hooked, pad
from scr.editing.presets import LAB
from scr.editing.reading import parse_line, read_request, split_prompt
from scr.edits import EditRequest
from scr.errors import EditFailed, InvalidInput
from scr.facts import explain

log = logging.getLogger(__name__)

OPTIMIZER: Final = "optimizer.safetensors"
_CLIP: Final = 100.0
_LONGEST: Final = 128  # tokens of a text that is to be left alone


class MendSample(NamedTuple):
    """One edit to train on."""

    request: EditRequest
    rephrases: Sequence[EditRequest]
    """The same edit in other words."""

    others: Sequence[str]
    """Texts whose predictions are to stay."""


def read_samples(lines: Iterable[str | bytes], *, name: str = "") -> list[MendSample]:
    """Read one sample from each line that is not blank.

    A line is a request as `read_requests` takes it, with `rephrases`, prompts that name its subject
    too, and `others`, texts that are to be left alone.

    Args:
        lines: of UTF-8 JSON.
        name: of the file, for messages.

    Raises:
        InvalidInput: naming the first line that cannot be used.
    """
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            given = parse_line(line)
            rest = given if isinstance(given, dict) else {}
            extra = _Extra.model_validate({n: rest[n] for n in _Extra.model_fields if n in rest})
            if rest:
                given = {n: v for n, v in rest.items() if n not in _Extra.model_fields}
            request = read_request(given, str(number))
            rephrases = []
            for prompt in extra.rephrases:
                prefix, suffix = split_prompt(prompt, request.subject)
                parts = {"prefix": prefix, "suffix": suffix}
                rephrases.append(request.model_copy(update=parts))
        except (InvalidInput, ValidationError) as error:
            reason = explain(error) if isinstance(error, ValidationError) else str(error)
            raise InvalidInput(f"{name}, line {number}: {reason}") from error
        found.append(MendSample(request, rephrases, extra.others))
    return found


class _Extra(BaseModel):
    rephrases: list[str] = []
    others: list[str] = []


class MendTraining(EditorParams):
    """How networks are trained."""

    last: int = Field(default=3, ge=1)
    """Layers at the end of the model whose MLP matrices are edited."""

    rank: int = Field(default=1920, ge=1)
    """Of the networks' layers, at most."""

    rate: float = Field(default=1e-6, gt=0)
    """Adam's learning rate for the networks."""

    step_rate: float = Field(default=1e-4, gt=0)
    """Its learning rate for the steps."""

    step: float = 1e-4
    """First step of every matrix."""

    edit_weight: float = Field(default=0.1, ge=0)
    """Weight of the target's loss; that of the divergence is 1."""

    accumulate: int = Field(default=10, ge=1)
    """Samples of an optimizer step."""

    samples: int = Field(default=100_000, ge=1)
    """Most samples."""

    every: int = Field(default=1000, ge=1)
    """Samples between validations, each of which writes a checkpoint."""

    patience: int = Field(default=20_000, ge=1)
    """Samples without a better validation after which training ends."""

    seed: int = 0
    """Of the order of samples, and of the networks."""

    @classmethod
    def for_model(cls, shape: Shape, **given: Any) -> "MendTraining":
        """Return the settings for a model: the published ones, or those of the lab model.

        Raises:
            InvalidInput: if one given does not exist or cannot be.
        """
        own: dict[str, Any] = {"last": min(3, shape.depth)}
        if shape == LAB:  # small networks learn a small model in minutes, at higher rates
            own |= {"rank": 64, "rate": 3e-4, "step_rate": 1e-2, "step": -1e-2}
            own |= {"samples": 6000, "every": 500, "patience": 2500}
        try:
            return cls(**{**own, **given})
        except ValidationError as error:
            raise InvalidInput(f"MEND's training: {explain(error)}") from error


class Progress(NamedTuple):
    """How far training is."""

    samples: int
    total: int
    edit: float
    """Mean loss of targets, in nats a token, of the last validation."""

    drift: float
    """Mean divergence on other texts, in nats a token, likewise."""


Observe = Callable[[Progress], None]


def train_mend(
    model: Any,
    tokenizer: Any,
    samples: Sequence[MendSample],
    validation: Sequence[MendSample],
    settings: MendTraining,
    out: Path,
    *,
    resume: bool = False,
    observe: Observe | None = None,
) -> MendNetworks:
    """Train networks for a model, and return the best by the validation samples.

    Args:
        model: that is to be edited later; it is not changed.
        tokenizer: its tokenizer.
        samples: edits to learn from.
        validation: edits to stop by.
        settings: how.
        out: folder of the best networks, and of what resuming needs.
        resume: go on with a run in `out`.
        observe: called after each validation.

    Raises:
        InvalidInput: without samples, or where there is nothing to resume.
        EditFailed: if a loss is no number.
    """
    if not samples or not validation:
        raise InvalidInput("MEND learns from edits: give some to train on, and others to stop by")
    with evaluating(model):
        run = _Run(ModelAdapter(model), tokenizer, settings, out)
        if resume:
            run.restore()
        run.go(samples, validation, observe)
    return MendNetworks.load(out)


class _Run:
    def __init__(
        self, adapter: ModelAdapter, tokenizer: Any, settings: MendTraining, out: Path
    ) -> None:
        self.adapter, self.tokenizer, self.settings, self.out = adapter, tokenizer, settings, out
        card = card_for(adapter, settings.last, settings.rank)
        card = card.model_copy(update={"settings": settings.model_dump()})
        self.networks = MendNetworks(card, step=settings.step, seed=settings.seed)
        wide = torch.float64 if adapter.model.dtype == torch.float64 else torch.float32
        self.networks.to(adapter.device, wide)
        self.modules = modules_of(adapter, card)
        steps = [self.networks.steps]
        others = [p for n, p in self.networks.named_parameters() if n != "steps"]
        self.optimizer = torch.optim.Adam(
            [{"params": others, "lr": settings.rate}, {"params": steps, "lr": settings.step_rate}]
        )
        self.seen, self.best, self.best_at = 0, float("inf"), 0

    def go(
        self,
        samples: Sequence[MendSample],
        validation: Sequence[MendSample],
        observe: Observe | None,
    ) -> None:
        settings = self.settings
        while self.seen < settings.samples and self.seen - self.best_at < settings.patience:
            rng = Random(f"{settings.seed} {self.seen}")  # noqa: S311
            self.networks.train()
            for number in range(settings.every):
                self._learn(rng.choice(samples), rng)
                self.seen += 1
                if (number + 1) % settings.accumulate == 0 or number + 1 == settings.every:
                    torch.nn.utils.clip_grad_norm_(self.networks.parameters(), _CLIP)
                    self.optimizer.step()
                    self.optimizer.zero_grad()
            self._validate(validation, observe)

    def _learn(self, sample: MendSample, rng: Random) -> None:
        asked = sample.request
        if sample.rephrases and rng.random() < 0.5:
            asked = rng.choice(sample.rephrases)
        text = rng.choice(sample.others) if sample.others else None
        edit, drift = self._losses(sample.request, asked, text)
        loss = (self.settings.edit_weight * edit + drift) / self.settings.accumulate
        if not bool(loss.isfinite()):
            raise EditFailed("MEND's training diverged: its loss is no number; lower `step_rate`")
        loss.backward()  # type: ignore[no-untyped-call]

    def _losses(
        self, request: EditRequest, asked: EditRequest, text: str | None
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of the target on the edited model, and its divergence on a text."""
        adapter = self.adapter
        batch = make_batch([teacher_forced(self.tokenizer, request)], adapter.device)
        _, factors = read_factors(adapter, self.modules, batch, 1)
        rewritten = self.networks(factors)
        outer = make_batch([teacher_forced(self.tokenizer, asked)], adapter.device)
        with hooked(*edits_of(self.modules, rewritten)):
            edit = mean_loss(adapter, outer)
        if text is None:
            return edit, torch.zeros_like(edit)
        ids = self.tokenizer([text], truncation=True, max_length=_LONGEST)["input_ids"]
        padded = pad(ids, adapter.device)
        with torch.no_grad():
            before = self._predictions(padded)
        with hooked(*edits_of(self.modules, rewritten)):
            after = self._predictions(padded)
        return edit, (before.exp() * (before - after)).sum(-1).mean()

    def _predictions(self, padded: Padded) -> Tensor:
        logits = self.adapter.model(
            input_ids=padded.ids,
            attention_mask=padded.mask,
            position_ids=padded.positions,
            use_cache=False,
        ).logits[0]
        scores: Tensor = logits.float().log_softmax(-1)
        return scores

    @torch.no_grad()
    def _validate(self, validation: Sequence[MendSample], observe: Observe | None) -> None:
        self.networks.eval()
        edits, drifts = [], []
        for sample in validation:
            for asked in (sample.request, *sample.rephrases[:1]):
                with torch.enable_grad():  # of the inner gradient
                    edit, drift = self._losses(
                        sample.request, asked, sample.others[0] if sample.others else None
                    )
                edits.append(edit.item())
                drifts.append(drift.item())
        told = Progress(
            self.seen, self.settings.samples, sum(edits) / len(edits), sum(drifts) / len(drifts)
        )
        line = {"samples": told.samples, "edit": told.edit, "drift": told.drift}
        card = self.networks.card
        history = (*card.history, line)
        self.networks.card = card.model_copy(update={"history": history, "trained": self.seen})
        total = self.settings.edit_weight * told.edit + told.drift
        if total < self.best:
            self.best, self.best_at = total, self.seen
            self.networks.save(self.out)
        self._checkpoint()
        if observe is not None:
            observe(told)

    def _checkpoint(self) -> None:
        """Write what resuming needs beside the best networks."""
        latest = self.out / "latest"
        self.networks.save(latest)
        tensors = {"best": torch.tensor([self.best, self.best_at], dtype=torch.float64)}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"{number}.{name}": value.contiguous() for name, value in state.items()}
        partial = latest / f"{OPTIMIZER}.tmp"
        save_file(tensors, partial)
        partial.replace(latest / OPTIMIZER)

    def restore(self) -> None:
        """Go on where a run in the folder stopped.

        Raises:
            InvalidInput: if there is none, or it had other settings or another model.
        """
        latest = MendNetworks.load(self.out / "latest")
        mine, theirs = self.networks.card, latest.card
        same = mine.matrices == theirs.matrices and mine.model_hash == theirs.model_hash
        ends = {"samples", "patience"}  # which may be raised
        kept = {n: v for n, v in mine.model_dump(mode="json")["settings"].items() if n not in ends}
        if not same or kept != {n: v for n, v in theirs.settings.items() if n not in ends}:
            raise InvalidInput(f"{self.out} holds a run of another model or with other settings")
        self.networks.load_state_dict(latest.state_dict())
        self.networks.card = mine.model_copy(
            update={"history": theirs.history, "trained": theirs.trained}
        )
        self.seen = theirs.trained
        held = load_file(self.out / "latest" / OPTIMIZER)
        self.best, self.best_at = float(held["best"][0]), int(held["best"][1])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in held.items():
            number, _, field = name.partition(".")
            if field:
                state.setdefault(int(number), {})[field] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
