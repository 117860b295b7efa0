"""Edit the lab model by every method, alone, in batches and in sequence, and write the table.

    python scripts/lab_editing.py OUT [--methods rome,memit] [--modes "single 1"] [--cases 200]

Edits are drawn from LabWorld's test split and put as questions in a chat, as users will ask them.
`single`: each edit alone in the unedited model. `batch N`: N edits in one call. `sequence N`: N
calls of one edit, each on the model that the one before left. Whatever the mode, questions are
asked after the last edit, by free generation; teacher-forced accuracy stands beside, and damage:
the divergence of next tokens on texts that second moments were not collected over. Each finished
method and mode is written to OUT/lab.json at once, and not run again.

Hyper-parameters are the lab model's presets, chosen on the calibration split.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

from scr.editing import make_editor
from scr.edits import EditCase
from scr.evaluation.editing import ask, chat_request, score, summarize
from scr.evaluation.models import TransformersModel
from scr.lab.batches import chat_text
from scr.lab.cases import draw_cases
from scr.lab.chats import TrainingChats
from scr.lab.model import lab_model_path, load_lab_model, read_card
from scr.lab.world import generate_world

METHODS = (
    "ft",
    "ft-l",
    "ft-m",
    "locft-bf",
    "lora",
    "rome",
    "r-rome",
    "memit",
    "memit-seq",
    "emmet",
    "alphaedit",
    "lyaplock",
    "mend",
)
MODES = (("single", 1), ("batch", 10), ("batch", 100), ("sequence", 10), ("sequence", 100))
COLUMNS = (
    "reliability",
    "reliability_forced",
    "generality",
    "generality_forced",
    "efficacy",
    "paraphrase",
    "neighborhood",
    "other_subject",
    "other_relation",
    "unrelated",
)
CORPUS = 1500  # chats and as many bare statements
CANARY = 32  # texts outside of it, on which damage is measured
LONGEST = 24  # tokens of a reply


def main() -> int:
    """Run what is missing and write the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--modes", default=",".join(f"{mode} {size}" for mode, size in MODES))
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mend", type=Path, help="networks by `scr edit train-mend`, for mend")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    card = read_card(lab_model_path())
    network, tokenizer = load_lab_model(lab_model_path())
    world = generate_world(card.seed, card.facts)
    cases = draw_cases(world, arguments.cases, seed=arguments.seed)
    rng = Random(arguments.seed)
    chats = TrainingChats(world)
    corpus = [chat_text(chats.closed_book(rng)) for _ in range(CORPUS)]
    corpus += [chats.statement(rng)[0] for _ in range(CORPUS)]
    held_out = unseen_texts(chats, Random(arguments.seed + 1), set(corpus))
    damage = Damage(network, tokenizer, held_out)
    bench = _Bench(network, tokenizer, cases, corpus, damage, arguments.out / "moments")
    bench.networks = arguments.mend
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "lab.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    results.setdefault("command", f"python scripts/lab_editing.py OUT --cases {arguments.cases}")
    results.setdefault("commit", _commit())
    results["conditions"] = summarize([]).conditions.model_dump()
    cells = results.setdefault("cells", {})
    if "base" not in cells:
        cells["base"] = bench.base()
    for method in arguments.methods.split(","):
        for mode, size in MODES:
            if f"{mode} {size}" not in arguments.modes.split(","):
                continue
            name = f"{method} {mode} {size}"
            if name in cells:
                continue
            cells[name] = bench.run(method, mode, size)
            path.write_text(json.dumps(results, indent=1) + "\n")
            shown = cells[name]["metrics"]
            print(name, {c: round(shown[c]["mean"], 3) for c in COLUMNS if c in shown}, flush=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    (arguments.out / "lab.md").write_text(table(results))
    return 0


def unseen_texts(chats: TrainingChats, rng: Random, corpus: set[str]) -> list[str]:
    """Return chats and bare statements, half of each, that are not in the corpus."""
    found: list[str] = []
    while len(found) < CANARY:
        text = chats.statement(rng)[0] if len(found) % 2 else chat_text(chats.closed_book(rng))
        if text not in corpus and text not in found:
            found.append(text)
    return found


class Damage:
    """How far a model has moved, on texts that no edit is about, from what it was at first."""

    def __init__(self, network: Any, tokenizer: Any, texts: Sequence[str]) -> None:
        self._network = network
        self._rows = [torch.tensor([ids]) for ids in tokenizer(list(texts))["input_ids"]]
        self._before = self._read()

    @torch.no_grad()
    def _read(self) -> list[torch.Tensor]:
        return [self._network(row).logits[0].double().log_softmax(-1) for row in self._rows]

    def kl(self) -> float:
        """Return the mean divergence KL(at first || now) of next tokens, in nats a token."""
        pairs = zip(self._before, self._read(), strict=True)
        each = torch.cat([(was.exp() * (was - now)).sum(-1) for was, now in pairs])
        return float(each.mean())


class _Bench:
    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        cases: Sequence[EditCase],
        corpus: Sequence[str],
        damage: Damage,
        cache: Path,
    ) -> None:
        self.network, self.tokenizer, self.cases = network, tokenizer, list(cases)
        self.corpus, self.damage = corpus, damage
        self.model = TransformersModel(network, tokenizer, max_tokens=LONGEST)
        self.before = ask(self.model, self.cases)
        self.cache = cache
        self.networks: Path | None = None

    def base(self) -> dict[str, Any]:
        scores = [score(c, b, b) for c, b in zip(self.cases, self.before, strict=True)]
        return {"metrics": summarize(scores).model_dump()["metrics"]}

    def run(self, method: str, mode: str, size: int) -> dict[str, Any]:
        """Return the metrics of one method in one mode, and what it cost."""
        scores: list[dict[str, float]] = []
        seconds, kls, warned = 0.0, [], 0
        for edited, group, spent, warnings in self._edited(method, mode, size):
            after = ask(self.model, group)
            for place, (case, replies) in enumerate(zip(group, after, strict=True)):
                scores.append(score(case, self.before[edited + place], replies))
            seconds += spent
            kls.append(self.damage.kl())
            warned += warnings
        return {
            "metrics": summarize(scores).model_dump()["metrics"],
            "seconds_per_edit": seconds / len(self.cases),
            "kl": sum(kls) / len(kls),
            "warnings": warned,
        }

    def _edited(
        self, method: str, mode: str, size: int
    ) -> Iterator[tuple[int, list[EditCase], float, int]]:
        """Yield, while edits are in the model: where its cases begin, and which they are."""
        if mode == "single":
            editor = self._editor(method)
            requests = [chat_request(self.tokenizer, case) for case in self.cases]
            edits = editor.each(self.network, self.tokenizer, requests)
            for number in range(len(self.cases)):
                start = time.process_time()
                edit = next(edits)
                spent = time.process_time() - start
                yield number, [self.cases[number]], spent, bool(edit.report.warnings)
            next(edits, None)
            return
        for first in range(0, len(self.cases), size):
            group = self.cases[first : first + size]
            requests = [chat_request(self.tokenizer, case) for case in group]
            calls = [requests] if mode == "batch" else [[request] for request in requests]
            together = mode == "batch" and method in ("ft", "ft-l", "ft-m")
            options = {"order": "breadth", "batch": 10} if together else {}
            editor = self._editor(method, **options)
            start = time.process_time()
            stack = [editor.apply(self.network, self.tokenizer, call) for call in calls]
            spent = time.process_time() - start
            yield first, group, spent, sum(bool(edit.report.warnings) for edit in stack)
            for edit in reversed(stack):
                edit.restore()

    def _editor(self, method: str, **options: Any) -> Any:
        if method == "mend":
            options["trained"] = self.networks
        return make_editor(method, corpus=self.corpus, cache=self.cache, **options)


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    head = ("method", "mode", *COLUMNS, "KL", "s/edit")
    lines = [
        f"`{results['command']}`, commit {results['commit']}. Shares with 95 % intervals over "
        "cases; locality columns are shares of replies that are what they were before.",
        "",
        "| " + " | ".join(name.replace("_", " ") for name in head) + " |",
        "|" + "---|" * len(head),
    ]
    for name, cell in results["cells"].items():
        method, _, mode = name.partition(" ")
        found = cell["metrics"]
        row = [method, mode or "–"]
        for column in COLUMNS:
            estimate = found.get(column)
            row.append(
                f"{estimate['mean']:.3f} ({estimate['low']:.2f}–{estimate['high']:.2f})"
                if estimate
                else "–"
            )
        row.append(f"{cell['kl']:.3f}" if "kl" in cell else "–")
        row.append(f"{cell['seconds_per_edit']:.2f}" if "seconds_per_edit" in cell else "–")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
