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
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from scr.errors import InvalidInput
from scr.lab.batches import WORKERS, Batch, BatchSource, Share
from scr.lab.chats import TrainingChats
from scr.lab.model import load_lab_model
from scr.lab.tokens import CONTEXT_LENGTH, build_tokenizer
from scr.lab.world import DEFAULT_SEED, DEFAULT_SIZE, World, generate_world

log = logging.getLogger(__name__)

CHECKPOINT: Final = "checkpoint.pt"
LOG: Final = "log.jsonl"

_LOSS_WEIGHTS: Final = (1.0, 1.0, 0.5)  # of the batches of a `Share`, about as their tokens


class TrainingConfig(BaseModel):
    """What a run is made from: the same config and machine give the same weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = DEFAULT_SEED
    """Of the world, the initial weights and the order of samples."""

    facts: int = DEFAULT_SIZE
    """Size of the world."""

    tokens: int = 23_600_000
    """Budget, padding not counted; the decay ends with it. The default is the shipped model's."""

    device: str = "cpu"
    """Where torch computes: `cpu`, `cuda`."""

    started_from: str = ""
    """Name of the model whose weights the run began with; empty: none."""

    tokens_before: int = 0
    """Tokens that that model had seen already; the run draws chats that it has not."""

    hidden_size: int = 256
    """Width of the model."""

    intermediate_size: int = 512
    """Width of the MLPs."""

    layers: int = 6
    """Number of decoder layers."""

    heads: int = 4
    """Attention heads in each layer."""

    closed_tokens: int = Field(default=1900, ge=500)
    """Closed-book tokens in each step; each worker's share must hold the longest chat."""

    composer_tokens: int = Field(default=2900, ge=500)
    """Tokens of chats with context as SCR's composer shows it; the same holds."""

    other_tokens: int = Field(default=900, ge=500)
    """Tokens of chats with context shown in other ways; the same holds."""

    first_steps: int = 1024
    """Number of first steps, in which more and more facts and harder and harder contexts come in;
    a multiple of `POOL_STEPS`."""

    first_closed_share: float = 0.68
    """Share of closed-book tokens in those steps; the rest is shared as later on."""

    learning_rate: float = 4e-3
    """Peak rate of AdamW; Muon's matrices use it times `muon_scale`."""

    muon_scale: float = 2.0
    """Ratio of Muon's rate to AdamW's; 0 gives the matrices to AdamW too."""

    weight_decay: float = 0.01
    """Decoupled weight decay of the matrices."""

    warmup_tokens: int = 150_000
    """Tokens over which the rate rises linearly."""

    decay_share: float = 0.55
    """Share of the budget over which the rate falls linearly to zero."""

    @property
    def sizes(self) -> dict[str, int]:
        """Tokens a step of each kind of batch, by the names of `Share`."""
        return {
            "closed": self.closed_tokens,
            "composer": self.composer_tokens,
            "others": self.other_tokens,
        }

    @property
    def first_sizes(self) -> dict[str, int]:
        """The same in the first steps."""
        total = sum(self.sizes.values())
        left = (1 - self.first_closed_share) * total / (total - self.closed_tokens)
        return {
            "closed": round(self.first_closed_share * total),
            "composer": round(left * self.composer_tokens),
            "others": round(left * self.other_tokens),
        }


SIZES: Final[Mapping[str, Mapping[str, int | float]]] = {
    "small": {},
    "large": {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "layers": 8,
        "heads": 12,
        "closed_tokens": 12_000,
        "composer_tokens": 14_000,
        "other_tokens": 5_000,
        "learning_rate": 1e-3,
        "tokens": 200_000_000,
    },
}
"""What a run of a size differs in from the defaults; `large` has 60 million parameters, and wants
a GPU."""


class Progress(BaseModel):
    """Where a run stands; also one line of its log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    """Steps taken."""

    tokens: int
    """Tokens seen, padding not counted."""

    closed_loss: float
    """Weighted cross-entropy of closed-book samples since the last report, in nats."""

    composer_loss: float
    """The same of chats with context as SCR's composer shows it."""

    others_loss: float
    """The same of chats with context shown in other ways."""

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
        self.model.to(torch.device(config.device))  # type: ignore[arg-type]  # a decorator hides it
        # On CPUs one thread for each share of a step: they meet once a step, not once an
        # operation, so a busy core elsewhere costs little.
        _one_thread()
        self._worker = ThreadPoolExecutor(WORKERS - 1, initializer=_one_thread)
        on_cpu = torch.device(config.device).type == "cpu"
        self._replicas = [_replica(self.model) for _ in range(WORKERS if on_cpu else 1)]
        self._optimizers = _build_optimizers(self.model, config)
        self._batches = BatchSource(
            TrainingChats(self.world),
            self.tokenizer,
            seed=f"{config.seed}-{config.tokens_before}",
            sizes=config.sizes,
            first_sizes=config.first_sizes,
            first_steps=config.first_steps,
        )
        self.steps = 0
        self.tokens = 0
        self.seconds = 0.0

    def start_from(self, folder: Path) -> None:
        """Take over the weights of an exported lab model; the position stays at the start.

        Raises:
            InvalidInput: if it has other words or another shape than this run's model.
            ModelUnavailable: if the folder holds no exported lab model.
        """
        model, tokenizer = load_lab_model(folder)
        mine, theirs = self.model.state_dict(), model.state_dict()
        shapes = [{name: t.shape for name, t in state.items()} for state in (mine, theirs)]
        if shapes[0] != shapes[1] or tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise InvalidInput(
                f"the model in {folder} has another shape or other words than this run's: "
                "train from scratch, or start from a model of this version and size"
            )
        self.model.load_state_dict(theirs)
        self._refresh_replicas()

    @property
    def finished(self) -> bool:
        """Whether the budget is used up."""
        return self.tokens >= self.config.tokens

    def step(self) -> list[float]:
        """Take one step; return the mean loss of each kind of batch, in the order of `Share`."""
        scale = rate_scale(self.tokens, self.config)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * scale
        shares = self._batches.step(self.steps)
        losses = self._backward_all(shares)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        first, *others = self._optimizers
        elsewhere = self._worker.submit(first.step)
        for optimizer in others:
            optimizer.step()
        elsewhere.result()
        self._refresh_replicas()
        self.steps += 1
        pad = self.tokenizer.pad_token_id
        batches = [batch for share in shares for batch in share]
        self.tokens += sum(int((b.ids != pad).sum()) + len(b.prefix) for b in batches)
        return losses

    def _backward_all(self, shares: list[Share]) -> list[float]:
        """Leave the summed gradient of all shares in the model; return the mean losses."""
        for replica in self._replicas:
            replica.zero_grad()
        if len(self._replicas) == 1:
            losses = [_backward(self._replicas[0], share) for share in shares]
        else:
            mine, *others = zip(self._replicas, shares, strict=True)
            elsewhere = [self._worker.submit(_backward, *pair) for pair in others]
            losses = [_backward(*mine), *(future.result() for future in elsewhere)]
        for parameter, *copies in zip(
            self.model.parameters(), *(r.parameters() for r in self._replicas), strict=True
        ):
            gradients = [copy.grad.float() for copy in copies if copy.grad is not None]
            parameter.grad = torch.stack(gradients).sum(0) if gradients else None
        return [sum(column) / len(shares) for column in zip(*losses, strict=True)]

    @torch.no_grad()
    def _refresh_replicas(self) -> None:
        for replica in self._replicas:
            for copied, parameter in zip(
                replica.parameters(), self.model.parameters(), strict=True
            ):
                copied.copy_(parameter)

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
        """Return the run of a checkpoint, with another budget if `tokens` is given.

        Raises:
            InvalidInput: if the file is no checkpoint of this version.
        """
        state = _read_checkpoint(path)
        config = TrainingConfig(**state["config"])
        if tokens is not None:
            config = config.model_copy(update={"tokens": tokens})
        trainer = cls(config)
        trainer.model.load_state_dict(state["model"])
        trainer._refresh_replicas()
        for optimizer, saved in zip(trainer._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        trainer.steps, trainer.tokens, trainer.seconds = state["position"]
        return trainer


def train(
    output: Path,
    config: TrainingConfig,
    *,
    resume: bool = False,
    start: Path | None = None,
    observe: Observer | None = None,
    report_seconds: float = 20.0,
    checkpoint_seconds: float = 180.0,
) -> Trainer:
    """Train the lab model until the budget is used up.

    Args:
        output: folder for the checkpoint and the log; made if missing.
        config: what to train. When resuming, only its `tokens` counts.
        resume: go on from the checkpoint in `output`.
        start: folder of an exported lab model whose weights a new run begins with.
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
    if start is not None and not resume:
        trainer.start_from(start)
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


def read_config(path: Path) -> TrainingConfig:
    """Return what the run of a checkpoint is made from.

    Raises:
        InvalidInput: if the file is no checkpoint of this version.
    """
    return TrainingConfig(**_read_checkpoint(path)["config"])


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        TrainingConfig(**state["config"])
    except (RuntimeError, KeyError, EOFError, ValueError, UnpicklingError) as error:
        raise InvalidInput(
            f"{path} is no checkpoint of this version, or damaged: begin anew in another folder"
        ) from error
    return state


def read_log(folder: Path) -> list[Progress]:
    """Return what a run reported, without what a resumed run did over again."""
    lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    kept: list[Progress] = []
    for progress in map(Progress.model_validate_json, lines):
        while kept and kept[-1].tokens >= progress.tokens:
            kept.pop()
        kept.append(progress)
    return kept


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


def gradient_dtype(device: str) -> torch.dtype:
    """Return what gradients are computed in: bfloat16 where the hardware multiplies it.

    A CPU without AVX-512 emulates it, at a thirtieth of the speed of float32 (measured on AVX2).
    """
    on_cpu = torch.device(device).type == "cpu"
    emulated = on_cpu and "AVX512" not in torch.backends.cpu.get_cpu_capability()
    return torch.float32 if emulated else torch.bfloat16


def _replica(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Return a copy that gradients are computed on; in bfloat16, half the time of autocast."""
    replica = copy.deepcopy(model)
    if gradient_dtype(model.device.type) == torch.bfloat16:
        replica.bfloat16()
    replica.set_attn_implementation("eager")
    return replica


def _one_thread() -> None:
    torch.set_num_threads(1)


def _backward(model: LlamaForCausalLM, share: Share) -> list[float]:
    """Add the gradient of each batch's weighted cross-entropy; return the losses."""
    losses = []
    for batch, weight in zip(share, _LOSS_WEIGHTS, strict=True):
        loss = _loss(model, batch)
        (loss * weight).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
    return losses


def _loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    device = model.device
    ids = torch.from_numpy(batch.ids).to(device)  # (B, T)
    places = torch.from_numpy(batch.places).to(device)  # (N,)
    hidden = _hidden(model, torch.from_numpy(batch.prefix).to(device), ids[:, :-1])
    logits = model.lm_head(hidden.flatten(0, 1)[places])  # (N, vocabulary)
    wanted = ids[:, 1:].flatten()[places]
    each = functional.cross_entropy(logits.float(), wanted, reduction="none")
    return (each * torch.from_numpy(batch.weights).to(device)).sum()


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
    closed, composer, others = (sum(c) / len(losses) for c in zip(*losses, strict=True))
    return Progress(
        step=trainer.steps,
        tokens=trainer.tokens,
        closed_loss=closed,
        composer_loss=composer,
        others_loss=others,
        rate=trainer.config.learning_rate * rate_scale(trainer.tokens, trainer.config),
        tokens_per_second=speed,
        seconds=trainer.seconds,
    )
