"""Training the lab model from scratch, with checkpoints from which it goes on exactly.

Knows nothing of how chats are drawn or what the model is asked later. Two optimizers share the
parameters: Muon takes the matrices, AdamW the embedding and the norms.

Source of Muon: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the
learning rate is scaled to AdamW's as in Liu et al. 2025, arXiv:2502.16982. Source of the schedule
(warm-up, stable, decay): Hu et al. 2024, "MiniCPM", arXiv:2404.06395.
"""

import copy
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from scr.lab.batches import Batch, BatchSource, Share
from scr.lab.samples import TrainingChats
from scr.lab.tokens import CONTEXT_LENGTH, build_tokenizer
from scr.lab.world import DEFAULT_SEED, DEFAULT_SIZE, World, generate_world

log = logging.getLogger(__name__)

CHECKPOINT: Final = "checkpoint.pt"
LOG: Final = "log.jsonl"


class TrainingConfig(BaseModel):
    """What a run is made from: the same config and machine give the same weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = DEFAULT_SEED
    """Of the world, the initial weights and the order of samples."""

    facts: int = DEFAULT_SIZE
    """Size of the world."""

    tokens: int = 19_500_000
    """Budget, padding not counted; the decay ends with it."""

    hidden_size: int = 256
    """Width of the model."""

    intermediate_size: int = 640
    """Width of the MLPs."""

    layers: int = 6
    """Number of decoder layers."""

    heads: int = 4
    """Attention heads in each layer."""

    closed_tokens: int = Field(default=1400, ge=500)
    """Closed-book tokens in each step; each worker's share must hold the longest chat."""

    first_closed_tokens: int = 1600
    """The same in the first steps, in which the facts are learned."""

    first_steps: int = 768
    """Number of those first steps; a multiple of `POOL_STEPS`."""

    context_tokens: int = Field(default=2000, ge=500)
    """Tokens of chats with context in each step; the same holds."""

    easy_steps: int = 1664
    """Number of first steps with easy contexts; a multiple of `POOL_STEPS`."""

    learning_rate: float = 2e-3
    """Peak rate of AdamW; Muon's matrices use it times `muon_scale`."""

    muon_scale: float = 2.0
    """Ratio of Muon's rate to AdamW's; 0 gives the matrices to AdamW too."""

    weight_decay: float = 0.01
    """Decoupled weight decay of the matrices."""

    warmup_tokens: int = 150_000
    """Tokens over which the rate rises linearly."""

    decay_share: float = 0.55
    """Share of the budget over which the rate falls linearly to zero."""


class Progress(BaseModel):
    """Where a run stands; also one line of its log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    """Steps taken."""

    tokens: int
    """Tokens seen, padding not counted."""

    closed_loss: float
    """Weighted cross-entropy of closed-book samples since the last report, in nats."""

    context_loss: float
    """The same of chats with context."""

    rate: float
    """AdamW's learning rate at the last step."""

    tokens_per_second: float
    """Throughput since the last report."""

    seconds: float
    """Training time of the whole run, earlier parts included."""


Observer = Callable[[Progress, LlamaForCausalLM, PreTrainedTokenizerFast], None]
"""Called at each report with the live model; it must leave weights and random state alone."""


class Trainer:
    """One training run: model, optimizers and position, as a checkpoint holds them."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.world: World = generate_world(config.seed, config.facts)
        self.tokenizer = build_tokenizer()
        torch.manual_seed(config.seed)
        self.model = build_model(config, self.tokenizer)
        self._twin = _twin(self.model)
        # One thread for each share of a step: they meet once a step, not once an
        # operation, so a busy core elsewhere costs little.
        _one_thread()
        self._worker = ThreadPoolExecutor(1, initializer=_one_thread)
        self._optimizers = _build_optimizers(self.model, config)
        self._batches = BatchSource(
            TrainingChats(self.world),
            self.tokenizer,
            seed=config.seed,
            closed_tokens=config.closed_tokens,
            first_closed_tokens=config.first_closed_tokens,
            first_steps=config.first_steps,
            context_tokens=config.context_tokens,
            easy_steps=config.easy_steps,
        )
        self.steps = 0
        self.tokens = 0
        self.seconds = 0.0

    @property
    def finished(self) -> bool:
        """Whether the budget is used up."""
        return self.tokens >= self.config.tokens

    def step(self) -> list[float]:
        """Take one step; return the closed-book and the context loss."""
        scale = rate_scale(self.tokens, self.config)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * scale
            optimizer.zero_grad()
        shares = self._batches.step(self.steps)
        losses = self._backward_all(shares)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        first, *others = self._optimizers
        elsewhere = self._worker.submit(first.step)
        for optimizer in others:
            optimizer.step()
        elsewhere.result()
        self.steps += 1
        pad = self.tokenizer.pad_token_id
        batches = [batch for share in shares for batch in share]
        self.tokens += sum(int((b.ids != pad).sum()) + len(b.prefix) for b in batches)
        return losses

    def _backward_all(self, shares: list[Share]) -> list[float]:
        """Leave the summed gradient of all shares in the model; return the mean losses."""
        mine, *others = shares
        self._twin.zero_grad()
        elsewhere = [self._worker.submit(_backward, self._twin, share) for share in others]
        losses = [_backward(self.model, mine), *(future.result() for future in elsewhere)]
        for here, there in zip(self.model.parameters(), self._twin.parameters(), strict=True):
            if here.grad is not None and there.grad is not None:
                here.grad += there.grad
        return [sum(column) / len(shares) for column in zip(*losses, strict=True)]

    def save(self, path: Path) -> None:
        """Write a checkpoint; a crash while writing leaves the one before."""
        state = {
            "config": self.config.model_dump(),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "position": (self.steps, self.tokens, self.seconds),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path, *, tokens: int | None = None) -> "Trainer":
        """Return the run of a checkpoint, with another budget if `tokens` is given."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        config = TrainingConfig(**state["config"])
        if tokens is not None:
            config = config.model_copy(update={"tokens": tokens})
        trainer = cls(config)
        trainer.model.load_state_dict(state["model"])
        for optimizer, saved in zip(trainer._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        trainer.steps, trainer.tokens, trainer.seconds = state["position"]
        return trainer


def train(
    output: Path,
    config: TrainingConfig,
    *,
    resume: bool = False,
    observe: Observer | None = None,
    report_seconds: float = 20.0,
    checkpoint_seconds: float = 180.0,
) -> Trainer:
    """Train the lab model until the budget is used up.

    Args:
        output: folder for the checkpoint and the log; made if missing.
        config: what to train. When resuming, only its `tokens` counts.
        resume: go on from the checkpoint in `output`.
        observe: called at each report.
        report_seconds: least time between two reports, in seconds.
        checkpoint_seconds: least time between two checkpoints, in seconds.

    Returns:
        The finished run, whose last state is also the checkpoint.

    Raises:
        FileNotFoundError: if there is nothing to resume from.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / CHECKPOINT
    trainer = Trainer.load(path, tokens=config.tokens) if resume else Trainer(config)
    losses: list[list[float]] = []
    mark, tokens, saved = time.monotonic(), trainer.tokens, time.monotonic()
    while not trainer.finished:
        losses.append(trainer.step())
        now = time.monotonic()
        if now - mark < report_seconds and not trainer.finished:
            continue
        trainer.seconds += now - mark
        progress = _progress(trainer, losses, (trainer.tokens - tokens) / (now - mark))
        with (output / LOG).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(progress.model_dump()) + "\n")
        if now - saved >= checkpoint_seconds:
            trainer.save(path)
            saved = time.monotonic()
        if observe is not None:
            observe(progress, trainer.model, trainer.tokenizer)
        losses = []
        mark, tokens = time.monotonic(), trainer.tokens
    trainer.save(path)
    log.info("trained %d tokens in %.0f s", trainer.tokens, trainer.seconds)
    return trainer


def rate_scale(tokens: int, config: TrainingConfig) -> float:
    """Return the learning rate after `tokens`, as a share of its peak."""
    warm = min(1.0, (tokens + 1) / max(1, config.warmup_tokens))
    left = (config.tokens - tokens) / (config.decay_share * config.tokens)
    return max(0.0, min(warm, left))


def build_model(config: TrainingConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained model for a tokenizer, in float32."""
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=CONTEXT_LENGTH,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.set_attn_implementation("eager")  # on a CPU, faster than sdpa on short rows
    return model


def _twin(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Return a model on the same weights with gradients of its own, for a second thread."""
    twin = copy.deepcopy(model)
    for mine, theirs in zip(twin.parameters(), model.parameters(), strict=True):
        mine.data = theirs.data
    return twin


def _one_thread() -> None:
    torch.set_num_threads(1)


def _backward(model: LlamaForCausalLM, share: Share) -> list[float]:
    """Add the gradient of each batch's weighted cross-entropy; return the losses."""
    losses = [_loss(model, batch) for batch in share]
    for loss in losses:
        loss.backward()  # type: ignore[no-untyped-call]
    return [loss.item() for loss in losses]


def _loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    ids = torch.from_numpy(batch.ids)  # (B, T)
    places = torch.from_numpy(batch.places)  # (N,)
    # torch's cache of cast weights is shared by threads; with it, sums depend on their timing
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        hidden = _hidden(model, torch.from_numpy(batch.prefix), ids[:, :-1])
        logits = model.lm_head(hidden.flatten(0, 1)[places])  # (N, vocabulary)
    wanted = ids[:, 1:].flatten()[places]
    each = functional.cross_entropy(logits.float(), wanted, reduction="none")
    return (each * torch.from_numpy(batch.weights)).sum()


def _hidden(model: LlamaForCausalLM, prefix: Tensor, ids: Tensor) -> Tensor:
    """Return the `(B, T, hidden)` states of `ids`, each row read after the `(P,)` prefix."""
    if not len(prefix):
        states: Tensor = model.model(ids, use_cache=False).last_hidden_state
        return states
    cache = DynamicCache(config=model.config)
    model.model(prefix[None], past_key_values=cache)
    cache.batch_repeat_interleave(len(ids))
    states = model.model(ids, past_key_values=cache).last_hidden_state
    return states


def _build_optimizers(
    model: LlamaForCausalLM, config: TrainingConfig
) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    betas, rate = (0.9, 0.98), config.learning_rate
    plain: list[dict[str, Any]] = [{"params": others, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = []
    if config.muon_scale:
        for part in (matrices[::2], matrices[1::2]):  # one for each worker
            muon = torch.optim.Muon(
                part,
                lr=rate * config.muon_scale,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            optimizers.append(muon)
    else:
        plain.append({"params": matrices, "weight_decay": config.weight_decay})
    optimizers.append(torch.optim.AdamW(plain, lr=rate, betas=betas, fused=True))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def _progress(trainer: Trainer, losses: list[list[float]], speed: float) -> Progress:
    closed, context = (sum(column) / len(losses) for column in zip(*losses, strict=True))
    return Progress(
        step=trainer.steps,
        tokens=trainer.tokens,
        closed_loss=closed,
        context_loss=context,
        rate=trainer.config.learning_rate * rate_scale(trainer.tokens, trainer.config),
        tokens_per_second=speed,
        seconds=trainer.seconds,
    )
