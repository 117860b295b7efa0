"""Compare our edits with a reference: the same edits computed by other code.

    python scripts/check_reference.py DIR [--json FILE]

DIR holds `model/`, `edits.json`, and for each algorithm `NAME.json` (hyper-parameters and context
templates) and `NAME.safetensors` (second moments, target vectors z or ROME's vectors u and v, the
change of the first edit alone, and the total after all edits in sequence, as stored).

Printed are relative errors: of z or v by our optimizer (bar 1e-3), of the closed form from the
reference's own z (bar 1e-5), of the first edit (1e-2) and of the total (1e-2). The exit status is 1
if one is missed without a reason that is stated.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from scr.editing import make_editor
from scr.editing.adapter import ModelAdapter, evaluating, is_transposed
from scr.editing.editor import WeightEditor, Work
from scr.editing.moments import Moments
from scr.editing.prompts import encode
from scr.editing.weights import WeightChange
from scr.edits import EditRequest

if TYPE_CHECKING:
    from scr.editing.targets import Targets

BARS = {"target": 1e-3, "closed form": 1e-5, "first edit": 1e-2, "total": 1e-2}
NAMES = {"R-ROME": "r-rome", "FT": "ft-m"}
TARGET = {
    "steps": "v_num_grad_steps",
    "rate": "v_lr",
    "weight_decay": "v_weight_decay",
    "kl_factor": "kl_factor",
    "clamp": "clamp_norm_factor",
}
OWN = {
    "rome": {"second_moment": "mom2_adjustment"},
    "r-rome": {"second_moment": "mom2_adjustment"},
    "memit": {"moment_weight": "mom2_update_weight"},
    "emmet": {"moment_weight": "mom2_update_weight", "inner_ridge": "emmet_lambda"},
    "alphaedit": {"threshold": "nullspace_threshold", "l2": "L2"},
}
REASONS = {
    "FT": "the reference also trains the projection's bias, since it picks parameters by a part of "
    "their name; the bias is no part of the edited matrix. A loop that trains it too: ",
}


def main() -> int:
    """Compare every algorithm of a directory; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    missed = False
    for path in sorted(arguments.folder.glob("*.json")):
        if path.name == "edits.json":
            continue
        described = json.loads(path.read_text())
        algorithm = described["algorithm"]
        if ours_of(algorithm) not in {*OWN, "ft-m"}:
            print(f"{algorithm:10} skipped: no editor of ours is meant to do the same")
            continue
        found = compare(arguments.folder, path.stem, described)
        results[algorithm] = found
        over = [part for part, error in found.items() if error > BARS[part]]
        for part, error in found.items():
            mark = "" if error <= BARS[part] else "  MISSED"
            print(f"{algorithm:10} {part:12} {error:9.2e}  (bar {BARS[part]:.0e}){mark}")
        if over and algorithm in REASONS:
            with_bias = train_with_bias(arguments.folder, path.stem, described)
            found["first edit, bias trained"], found["total, bias trained"] = with_bias
            figures = " and ".join(f"{error:.2e}" for error in with_bias)
            print(f"{algorithm:10} differs for a reason: {REASONS[algorithm]}{figures}")
            missed = missed or max(with_bias) > BARS["total"]
        elif over:
            missed = True
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return int(missed)


def ours_of(algorithm: str) -> str:
    """Return our name of a reference's algorithm."""
    return NAMES.get(algorithm, algorithm.lower())


def compare(folder: Path, stem: str, described: Mapping[str, Any]) -> dict[str, float]:
    """Return the relative errors of one algorithm."""
    tensors = load_file(folder / f"{stem}.safetensors")
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    requests = [
        _request(number, edit)
        for number, edit in enumerate(json.loads((folder / "edits.json").read_text()))
    ]
    editor = _editor(described, tensors, model)
    errors: dict[str, float] = {}
    deltas = []
    with evaluating(model):
        spreads = hasattr(editor, "_spread")
        if spreads or "v/0" in tensors:
            errors["target"] = _target_error(editor, model, tokenizer, requests[0], tensors)
        if spreads:
            errors["closed form"] = _closed_form_error(editor, model, tokenizer, requests, tensors)
    edits = []
    for request in requests:
        edit = editor.apply(model, tokenizer, [request])
        edits.append(edit)
        deltas.append(edit.deltas)
    for part, prefix, found in (
        ("first edit", "edit0/", [deltas[0]]),
        ("total", "total/", deltas),
    ):
        wanted = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        names = [name for name in wanted if name in deltas[0]]
        ours = torch.cat([sum(d[name] for d in found).flatten() for name in names])
        theirs = torch.cat([wanted[name].flatten() for name in names])
        errors[part] = _error(ours, theirs)
    for edit in reversed(edits):
        edit.restore()
    return errors


def train_with_bias(folder: Path, stem: str, described: Mapping[str, Any]) -> tuple[float, float]:
    """Fine-tune weight and bias by a plain loop; return the errors of the first edit and the total.

    It shows that the reference's bias is all that sets it apart from FT-M.
    """
    tensors = load_file(folder / f"{stem}.safetensors")
    given = described["hyperparameters"]
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    names = [name.removeprefix("edit0/") for name in tensors if name.startswith("edit0/")]
    trained = [dict(model.named_parameters())[name] for name in names]
    model.requires_grad_(False)
    start = [parameter.detach().clone() for parameter in trained]
    changes: list[Tensor] = []
    edits = json.loads((folder / "edits.json").read_text())
    for number, edit in enumerate(edits):
        encoded = encode(tokenizer, _request(number, edit))
        for parameter in trained:
            parameter.requires_grad_(True)
        optimizer = torch.optim.Adam(trained, lr=given["lr"], weight_decay=given["weight_decay"])
        for _ in range(given["num_steps"]):
            logits = model(torch.tensor([encoded.ids])).logits[0, list(encoded.places)]
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(encoded.target))
            if loss.item() < 1e-2:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        now = torch.cat([(p.detach() - s).flatten() for p, s in zip(trained, start, strict=True)])
        changes.append(now)
    wanted = [
        torch.cat([tensors[f"{part}/{name}"].flatten() for name in names])
        for part in ("edit0", "total")
    ]
    return _error(changes[0], wanted[0]), _error(changes[-1], wanted[1])


def _request(number: int, edit: Mapping[str, str]) -> EditRequest:
    prefix, suffix = edit["prompt"].split("{}")
    return EditRequest(
        id=str(number),
        prefix=prefix,
        subject=edit["subject"],
        suffix=suffix,
        target=edit["target"],
    )


def _editor(
    described: Mapping[str, Any], tensors: Mapping[str, Tensor], model: Any
) -> WeightEditor:
    """Return our editor with the reference's hyper-parameters, templates and second moments."""
    given = described["hyperparameters"]
    name = ours_of(described["algorithm"])
    templates = described["context_templates"]
    options: dict[str, Any] = {}
    if templates is not None:
        options["templates"] = [templates] if isinstance(templates[0], str) else templates
    if name == "ft-m":
        return make_editor(
            name, layers=given["layers"], rate=given["lr"], steps=given["num_steps"], **options
        )
    options |= {ours: given[theirs] for ours, theirs in TARGET.items()}
    options |= {ours: given[theirs] for ours, theirs in OWN[name].items()}
    if name in ("rome", "r-rome"):
        options["layer"] = given["layers"][0]
    else:
        options["layers"] = given["layers"]
    if name != "alphaedit":
        options["ridge"] = 0.0
    adapter = ModelAdapter(model)
    means = {}
    for layer in given["layers"]:
        module = adapter.weight_name(adapter.projections[layer]).removesuffix(".weight")
        key = next((k for k in tensors if k.startswith("second_moment/") and module in k), None)
        if key is not None:
            means[layer] = tensors[key]
    if name == "alphaedit":
        # the reference's own projectors: with its second moments ours differ by what float32 does
        # to its singular vectors (3.6e-6 on the GPT-2 reference), and the changes by as much
        projectors = tensors["projector"].double()
        means = {
            layer: torch.eye(len(projector), dtype=torch.float64) - projector
            for layer, projector in zip(given["layers"], projectors, strict=True)
        }
    return make_editor(name, moments=Moments(means, 10**9), **options)


def _work(editor: WeightEditor, model: Any, tokenizer: Any, requests: list[EditRequest]) -> Work:
    adapter = editor._begin(model)
    change = WeightChange(model, {})
    return Work(adapter, tokenizer, requests, change, editor.params_for(adapter.shape), None)


def _target_error(
    editor: WeightEditor,
    model: Any,
    tokenizer: Any,
    request: EditRequest,
    tensors: Mapping[str, Tensor],
) -> float:
    """Return the error of the first edit's target: z, or ROME's right vector v."""
    work = _work(editor, model, tokenizer, [request])
    targets: Targets = editor._targets(work, [request])  # type: ignore[attr-defined]
    if "z/0" in tensors:
        return _error(targets.wanted[0], tensors["z/0"])
    editor._insert(work, request, targets, 0)  # type: ignore[attr-defined]
    (name,) = work.change.names
    projection = work.adapter.projections[editor.params_for(work.adapter.shape).layer]
    change = work.change.deltas()[name]
    work.change.undo()
    change = change.T if is_transposed(projection) else change
    left = tensors["u/0"].double()
    return _error(change.double() @ left / (left @ left), tensors["v/0"])


def _closed_form_error(
    editor: WeightEditor,
    model: Any,
    tokenizer: Any,
    requests: list[EditRequest],
    tensors: Mapping[str, Tensor],
) -> float:
    """Return the error of the first edit's change, given the reference's own z."""
    work = _work(editor, model, tokenizer, requests[:1])
    editor._spread(work, tensors["z/0"][None])  # type: ignore[attr-defined]
    deltas = work.change.deltas()
    work.change.undo()
    editor.load_state({})
    ours = torch.cat([delta.flatten() for delta in deltas.values()])
    theirs = torch.cat([tensors[f"edit0/{name}"].flatten() for name in deltas])
    return _error(ours, theirs)


def _error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


if __name__ == "__main__":
    sys.exit(main())
