"""What an edit costs against the plain form of its algorithm, on a random GPT-2 of 124 million.

    python scripts/bench_editing.py [--edits 16] [--plain 2] [--out FILE]

One CPU thread, CPU time. The plain form (`plain_editing.py`) takes one request at a time, reruns
the layers below the edited one at every step, and sends every position through the vocabulary
head; it is run for `--plain` of the edits, and times are per edit. Second moments are compared with
one pass for each layer. Bars: ROME and MEMIT at most a fifth; AlphaEdit at most 1.2 times MEMIT;
moments at least four times faster; peak memory under 2 GB, measured before the plain form runs.
"""

import argparse
import json
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from plain_editing import memit, rome
from transformers import GPT2Config, GPT2LMHeadModel

from scr.editing import make_editor
from scr.editing.adapter import ModelAdapter, evaluating, stored
from scr.editing.moments import Moments, collect_moments
from scr.editing.passes import chunks, hooked, pad
from scr.editing.targets import TargetParams
from scr.lab.batches import chat_text
from scr.lab.cases import draw_cases
from scr.lab.chats import TrainingChats
from scr.lab.tokens import build_tokenizer
from scr.lab.world import generate_world

LAYERS = (3, 4, 5, 6, 7)
ROME_LAYER = 3
EASYEDIT = {"rome": 35.5, "memit": 17.1, "alphaedit": 21.8}
"""EasyEdit's CPU seconds an edit on such a model, on another machine."""


def main() -> int:
    """Measure everything; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edits", type=int, default=16)
    parser.add_argument("--plain", type=int, default=2)
    parser.add_argument("--texts", type=int, default=160)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval()
    tokenizer = build_tokenizer()
    world = generate_world(0, 2000)
    requests = [case.request for case in draw_cases(world, arguments.edits)]
    rng, chats = Random(0), TrainingChats(world)
    texts = [chat_text(chats.closed_book(rng)) for _ in range(arguments.texts)]
    adapter = ModelAdapter(model)
    results: dict[str, Any] = {"edits": arguments.edits, "plain edits": arguments.plain}

    moments, results["moments"] = cpu(
        lambda: collect_moments(adapter, tokenizer, texts, LAYERS, model_hash="bench")
    )
    data = (model, tokenizer, requests, moments)
    settings: dict[str, dict[str, Any]] = {
        "alphaedit": {"layers": LAYERS, "energy": 0.1},
        "rome": {"layer": ROME_LAYER},
        "memit": {"layers": LAYERS},
    }
    editors = {
        name: make_editor(name, steps=20, **own, templates=measure(name, own, results, data))
        for name, own in settings.items()
    }
    results["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    with evaluating(model):
        plain = requests[: arguments.plain]
        results["plain rome"], results["plain memit"] = plain_times(
            adapter, tokenizer, plain, editors, moments
        )
        results["plain moments"] = cpu(lambda: pass_per_layer(adapter, tokenizer, texts, False))[1]
        stopping = cpu(lambda: pass_per_layer(adapter, tokenizer, texts, True))[1]
        results["plain moments, each pass stopped at its layer"] = stopping
    results["ratios"] = {
        "rome / plain": results["rome"] / results["plain rome"],
        "memit / plain": results["memit"] / results["plain memit"],
        "memit in one batch / plain": results["memit, one batch"] / results["plain memit"],
        "alphaedit / memit": results["alphaedit, one batch"] / results["memit, one batch"],
        "plain moments / moments": results["plain moments"] / results["moments"],
        "the same, each pass stopped": stopping / results["moments"],
    }
    results["EasyEdit's seconds an edit, elsewhere"] = EASYEDIT
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    return 0


def measure(name: str, settings: dict[str, Any], results: dict[str, Any], data: Any) -> Any:
    """Add a method's CPU seconds an edit to the results; return its contexts."""
    model, tokenizer, requests, moments = data
    # A process edits by one method, so each has what is solved with the moments to itself.
    own = Moments(moments.means, moments.tokens)
    editor = make_editor(name, moments=own, steps=20, **settings)
    editor.apply(model, tokenizer, requests[:1]).restore()  # contexts, factors, null spaces
    _, seconds = cpu(lambda: deque(editor.each(model, tokenizer, requests), maxlen=0))
    results[name] = seconds / len(requests)
    if name != "rome":
        edit, seconds = cpu(lambda: editor.apply(model, tokenizer, requests))
        edit.restore()
        results[f"{name}, one batch"] = seconds / len(requests)
    return editor.templates


def cpu(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, and the CPU seconds it took."""
    start = time.process_time()
    return call(), time.process_time() - start


def plain_times(
    adapter: ModelAdapter, tokenizer: Any, requests: Any, editors: Any, moments: Moments
) -> tuple[float, float]:
    """Return the CPU seconds per edit of the plain ROME and the plain MEMIT."""
    rome_params = TargetParams(**_targets(editors["rome"], adapter))
    flat = [template for group in editors["rome"].templates for template in group]

    def all_rome() -> None:
        for request in requests:
            rome(
                adapter,
                tokenizer,
                request,
                layer=ROME_LAYER,
                templates=flat,
                params=rome_params,
                moment=moments[ROME_LAYER] + 1e-4 * torch.eye(len(moments[ROME_LAYER])),
            )

    memit_params = TargetParams(**_targets(editors["memit"], adapter))

    def all_memit() -> None:
        for request in requests:
            kept = {n: adapter.projections[n].weight.detach().clone() for n in LAYERS}

            def add(layer: int, change: torch.Tensor) -> None:
                module = adapter.projections[layer]
                with torch.no_grad():
                    module.weight += stored(module, change).to(module.weight.dtype)

            memit(
                adapter,
                tokenizer,
                request,
                layers=LAYERS,
                templates=editors["memit"].templates,
                params=memit_params,
                moment_of=lambda n: moments[n],
                weight=15_000.0,
                add=add,
            )
            with torch.no_grad():
                for layer, weight in kept.items():
                    adapter.projections[layer].weight.copy_(weight)

    return tuple(cpu(run)[1] / len(requests) for run in (all_rome, all_memit))  # type: ignore[return-value]


def _targets(editor: Any, adapter: ModelAdapter) -> dict[str, Any]:
    params = editor.params_for(adapter.shape).model_dump()
    return {name: params[name] for name in TargetParams.model_fields}


@torch.no_grad()
def pass_per_layer(adapter: ModelAdapter, tokenizer: Any, texts: list[str], stop: bool) -> None:
    """Collect second moments by one pass over the texts for each layer."""
    rows = tokenizer(texts, truncation=True, max_length=1024)["input_ids"]
    for layer in LAYERS:
        total = torch.zeros((3072, 3072), dtype=torch.float64)

        def add(module: Any, args: Any, output: Any) -> None:
            flat = args[0][mask.bool()].float()  # noqa: B023
            total.add_((flat.T @ flat).double())  # noqa: B023
            if stop:
                raise _Stop

        with hooked((adapter.projections[layer], add)):
            for chunk in chunks([len(row) for row in rows]):
                batch = pad([rows[place] for place in chunk], adapter.device)
                mask = batch.mask
                try:
                    adapter.model(input_ids=batch.ids, attention_mask=mask)
                except _Stop:
                    continue


class _Stop(Exception):
    pass


if __name__ == "__main__":
    sys.exit(main())
