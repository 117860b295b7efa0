"""Train the reader that ships with the detector, and write it with its card.

    python scripts/train_reader.py OUT [--seed 0] [--epochs 3] [--resume]

It begins with the weights of the `offline` embedding model and sees made data only
(`scripts/reader_pairs.py`). Gradients are computed on a copy, in bfloat16 where the CPU multiplies
it; weights are kept in float32.
A checkpoint is written after each epoch.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from reader_pairs import Pair, PairMaker, RelationPairs
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from written import held_out, load_written

from scr.detection.reader import INPUTS, LONGEST, MODEL, TOKENIZER, OnnxReader
from scr.lab.training import gradient_dtype
from scr.retrieval.embedders import offline_folder

BATCH: Final = 64
RATE: Final = 1e-4
LEAST_RATE: Final = 0.02  # share of the peak that is left in the end
WARM: Final = 0.06  # share of the steps
DECAY: Final = 0.01
CLIP: Final = 1.0
POOL: Final = 32  # batches that are sorted by length together


def main() -> None:
    """Train, measure on held-out subjects, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="go on after the last whole epoch")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    run = _Run(arguments.out, arguments.seed, arguments.epochs)
    if arguments.resume:
        run.restore()
    while run.epoch < arguments.epochs:
        run.train_epoch()
    run.write(f"python scripts/train_reader.py OUT --seed {arguments.seed} --epochs {run.epochs}")


class _Run:
    """A run: the model, its optimizer, and how far it is."""

    def __init__(self, out: Path, seed: int, epochs: int) -> None:
        self.out, self.seed, self.epochs = out, seed, epochs
        self.epoch = self.steps = 0
        self.seconds = 0.0
        base = offline_folder()
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self.model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        self.fast = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        self.fast.to(gradient_dtype("cpu")).train()
        for model in (self.model, self.fast):  # words keep their meaning: few are in the data
            model.get_input_embeddings().weight.requires_grad_(False)
        self._refresh()
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        plain = [p for p in self.trained if p.ndim < 2]
        matrices = [p for p in self.trained if p.ndim >= 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}],
            lr=RATE,
        )
        facts = load_written()
        self.maker = PairMaker([fact for fact in facts if not held_out(fact.subject)])
        unseen = PairMaker([fact for fact in facts if held_out(fact.subject)])
        self.unseen = list(unseen.epoch(random.Random(seed)))
        self.relations = RelationPairs()
        self.scores: list[dict[str, Any]] = []

    def train_epoch(self) -> None:
        """Take one epoch, measure, and write a checkpoint."""
        rng = random.Random(f"{self.seed}-{self.epoch}")
        pairs = [*self.maker.epoch(rng), *self.relations.epoch(rng)]
        batches = list(_batches(pairs, rng))
        total = self.epochs * len(batches)  # an epoch has about as many as any other
        start = time.monotonic()
        losses: list[float] = []
        for number, batch in enumerate(batches):
            share = min(1.0, (self.epoch * len(batches) + number + 1) / total)
            losses.append(self._step(batch, share))
            if number % 50 == 49:
                spent = time.monotonic() - start
                mean = sum(losses[-50:]) / 50
                print(f"epoch {self.epoch} batch {number + 1} of {len(batches)} loss {mean:.3f}"
                      f" {spent:.0f} s", flush=True)  # fmt: skip
        self.seconds += time.monotonic() - start
        self.epoch += 1
        self.scores.append({"epoch": self.epoch, "pairs": len(pairs), **self._measure()})
        print(json.dumps(self.scores[-1]), flush=True)
        self._save()

    def _step(self, batch: Sequence[Pair], share: float) -> float:
        warm = min(1.0, share / WARM)
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * warm * max(LEAST_RATE, 1 - share)
        labels = torch.tensor([float(pair.answers) for pair in batch])
        loss = binary_cross_entropy_with_logits(self._logits(self.fast, batch), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        slow, fast = self.model.parameters(), self.fast.parameters()
        for parameter, copied in zip(slow, fast, strict=True):
            if copied.grad is not None:
                parameter.grad = copied.grad.float()
                copied.grad = None
        torch.nn.utils.clip_grad_norm_(self.trained, CLIP)
        self.optimizer.step()
        self._refresh()
        self.steps += 1
        return float(loss.item())

    def _logits(self, model: Any, batch: Sequence[Pair]) -> Tensor:
        """Return `(B,)` log-odds in float32."""
        read = self.tokenizer(
            [pair.asked for pair in batch],
            [pair.told for pair in batch],
            truncation=True,
            max_length=LONGEST,
            padding=True,
            return_tensors="pt",
        )
        logits: Tensor = model(**read).logits[:, 0].float()
        return logits

    @torch.no_grad()
    def _refresh(self) -> None:
        for copied, parameter in zip(self.fast.parameters(), self.model.parameters(), strict=True):
            copied.copy_(parameter)

    @torch.no_grad()
    def _measure(self) -> dict[str, float]:
        """Return how many held-out pairs are judged rightly."""
        self.fast.eval()
        right: Counter[bool] = Counter()
        for at in range(0, len(self.unseen), BATCH):
            batch = self.unseen[at : at + BATCH]
            for pair, logit in zip(batch, self._logits(self.fast, batch).tolist(), strict=True):
                right[pair.answers] += (logit > 0) == pair.answers
        self.fast.train()
        counts = Counter(pair.answers for pair in self.unseen)
        return {
            "held-out pairs": len(self.unseen),
            "answered found": round(right[True] / max(counts[True], 1), 4),
            "unanswered refused": round(right[False] / max(counts[False], 1), 4),
        }

    def _save(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "position": (self.epoch, self.steps, self.seconds),
            "scores": self.scores,
        }
        torch.save(state, self.out / "checkpoint.partial")
        (self.out / "checkpoint.partial").replace(self.out / "checkpoint.pt")

    def restore(self) -> None:
        """Take over the checkpoint of the last whole epoch."""
        state = torch.load(self.out / "checkpoint.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.steps, self.seconds = state["position"]
        self.scores = state["scores"]
        self._refresh()

    def write(self, command: str) -> None:
        """Write the model with 8-bit weights, tokenizer and card, and measure what was written."""
        folder = self.out / "weights"
        folder.mkdir(parents=True, exist_ok=True)
        _export(self.model.float().eval(), self.tokenizer, folder)
        readings = OnnxReader(folder)([(pair.asked, pair.told) for pair in self.unseen])
        counts = Counter(pair.answers for pair in self.unseen)
        right = Counter(
            pair.answers
            for pair, reading in zip(self.unseen, readings.tolist(), strict=True)
            if (reading > 0) == pair.answers
        )
        card = {
            "command": command,
            "base": "all-MiniLM-L6-v2 (Apache-2.0)",
            "data": "eval/reader, eval/selectivity/relations.yaml, LabWorld's training forms",
            "seed": self.seed,
            "training seconds": round(self.seconds),
            "steps": self.steps,
            "written facts": len(self.maker.facts),
            "after each epoch, on pairs about other subjects": self.scores,
            "with 8-bit weights": {
                "answered found": round(right[True] / max(counts[True], 1), 4),
                "unanswered refused": round(right[False] / max(counts[False], 1), 4),
            },
        }
        (folder / "reader.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        json.dump(card, sys.stdout, indent=1)


class _Logits(torch.nn.Module):
    """The model as a function of tensors, for the export."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
        return logits


def _export(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the model as ONNX with 8-bit weights, and the tokenizer's file."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model.set_attn_implementation("eager")
    read = tokenizer("who runs it", "Who is the head of it?", return_tensors="pt")
    whole = folder / "whole.onnx"
    torch.onnx.export(
        _Logits(model),
        tuple(read[name] for name in INPUTS),
        str(whole),
        dynamo=False,
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_axes={name: {0: "pairs", 1: "tokens"} for name in INPUTS},
    )
    # Signed weights saturate on processors without VNNI, which then read differently.
    quantize_dynamic(whole, folder / MODEL, weight_type=QuantType.QUInt8, per_channel=True)
    whole.unlink()
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))


def _batches(pairs: Sequence[Pair], rng: random.Random) -> Iterator[list[Pair]]:
    """Yield batches of pairs of about one length, in random order."""
    order = rng.sample(pairs, len(pairs))
    batches = []
    for at in range(0, len(order), BATCH * POOL):
        pool = sorted(order[at : at + BATCH * POOL], key=lambda p: len(p.asked) + len(p.told))
        batches += [pool[b : b + BATCH] for b in range(0, len(pool), BATCH)]
    rng.shuffle(batches)
    return iter(batches)


if __name__ == "__main__":
    main()
