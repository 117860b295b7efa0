"""What an edit will change and cost, found out without changing anything.

Times come from two trial passes of the model and a count of what the method computes if no step
is spared. They are rough: steps often are, and passes of other sizes have other speeds.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import torch

from scr.editing import presets
from scr.editing.adapter import ModelAdapter, evaluating, read_matrix
from scr.editing.finetune import FineTune
from scr.editing.lora import Lora
from scr.editing.mend import Mend
from scr.editing.merging import Merge
from scr.editing.moments import ENOUGH, held_moments
from scr.editing.passes import head_at
from scr.editing.prompts import check_requests, encode
from scr.editing.rome import Rome
from scr.editing.spreading import AlphaEdit, SpreadEditor
from scr.errors import InvalidInput
from scr.records import Record

if TYPE_CHECKING:
    from scr.editing.editor import WeightEditor
    from scr.edits import EditRequest

Held = Literal["cached", "to be collected", "given"]
"""What is there of a second moment."""

_TRIAL: Final = 128  # tokens of the longer trial pass; the other has a sixteenth
_HASHED: Final = 5e8  # bytes a second that are hashed
_WORKING: Final = 2**29  # activations and logits, which chunks keep below that


class Planned(Record):
    """A matrix that will change."""

    name: str
    """Name of the parameter."""

    shape: tuple[int, ...]
    """As it is stored."""


class Setting(Record):
    """A hyper-parameter."""

    value: Any
    """What will be used."""

    source: str
    """Where it comes from."""


class EditPlan(Record):
    """What an edit will change and cost."""

    method: str
    """Name of the editor."""

    requests: int
    """How many there are, repetitions left out."""

    changes: tuple[Planned, ...]
    """Everything that changes; all else keeps its bits."""

    share: float
    """Share of the model's parameters that these are."""

    settings: Mapping[str, Setting]
    """Every hyper-parameter."""

    moments: Mapping[int, Held]
    """Layers whose second moments are needed; empty: none."""

    moment_tokens: int
    """Tokens of the texts that they are collected over."""

    seconds: float | None
    """Rough estimate of the time; `None` where it is not known how the method works."""

    bytes: int | None
    """The same of the memory beside the model's own."""

    notes: tuple[str, ...] = ()
    """What a person should know before."""


def plan_edit(
    editor: "WeightEditor",
    model: Any,
    tokenizer: Any,
    requests: Sequence["EditRequest"],
    *,
    given: Mapping[str, str] | None = None,
) -> EditPlan:
    """Return what `editor.apply` would do.

    Args:
        editor: the method with its settings.
        model: what is to be edited; a few passes are run on it.
        tokenizer: its tokenizer.
        requests: what it should say.
        given: where hyper-parameters that were given to the editor come from; otherwise `given`.

    Raises:
        InvalidInput, ModelNotEditable: if the edit cannot be.
    """
    adapter = ModelAdapter(model)
    params = editor.params_for(adapter.shape)
    requests = check_requests(tokenizer, requests, adapter.max_length)
    modules = editor.changed_modules(adapter, params)
    weights = {adapter.weight_name(module): module.weight for module in modules}
    size = sum(weight.numel() for weight in weights.values())
    layers = list(editor.moment_layers(params))
    moments, tokens = _moments(editor, adapter, tokenizer, layers)
    fresh = tokens if "to be collected" in moments.values() else 0
    width = max((read_matrix(adapter.projections[n]).shape[1] for n in layers), default=0)
    notes = []
    if fresh and tokens < ENOUGH * width:
        notes.append(
            f"the corpus has {tokens} tokens, and second moments of {width} components want "
            f"{ENOUGH * width}: give more text"
        )
    effort = _effort(editor, adapter, tokenizer, params, requests)
    return EditPlan(
        method=editor.name,
        requests=len(requests),
        changes=tuple(Planned(name=n, shape=tuple(w.shape)) for n, w in weights.items()),
        share=size / model.num_parameters(),
        settings=_settings(editor, adapter, params, given or {}),
        moments=moments,
        moment_tokens=tokens,
        seconds=_seconds(effort, adapter, layers, width, fresh) if effort else None,
        bytes=_bytes(editor, adapter, size, layers, width) if effort else None,
        notes=tuple(notes),
    )


def _moments(
    editor: "WeightEditor", adapter: ModelAdapter, tokenizer: Any, layers: Sequence[int]
) -> tuple[dict[int, Held], int]:
    """Return what is there of the second moments of layers, and the tokens of the corpus."""
    if not layers:
        return {}, 0
    adapter.check_layers(layers)
    if editor.moments is not None and all(layer in editor.moments.means for layer in layers):
        return dict.fromkeys(layers, "given"), editor.moments.tokens
    if not editor.corpus:
        raise InvalidInput(
            f"{editor.name} needs second moments of layers {list(layers)}: give `corpus`, texts "
            "in the manner of what the model was trained on"
        )
    held, tokens = held_moments(adapter, tokenizer, editor.corpus, layers, cache=editor.cache)
    return {n: "cached" if n in held else "to be collected" for n in layers}, tokens


def _settings(
    editor: "WeightEditor", adapter: ModelAdapter, params: Any, given: Mapping[str, str]
) -> dict[str, Setting]:
    by_model = editor.defaults(adapter.shape)
    found = {}
    for name, value in params.model_dump().items():
        if name in editor.overrides:
            source = given.get(name, "given")
        elif name in by_model:
            source = presets.origin(editor.name, adapter.shape)
        else:
            source = "the method's own"
        found[name] = Setting(value=value, source=source)
    return found


class _Effort(NamedTuple):
    """What a method computes at most."""

    passes: float
    """Passes through the whole model, or that many parts of one."""

    tokens: float
    """Tokens that whole passes read."""

    predictions: float
    """Positions whose logits are computed."""

    solves: float
    """Multiplications of linear algebra."""


def _effort(
    editor: "WeightEditor",
    adapter: ModelAdapter,
    tokenizer: Any,
    params: Any,
    requests: Sequence["EditRequest"],
) -> _Effort | None:
    encoded = [encode(tokenizer, request) for request in requests]
    whole = sum(len(one.ids) for one in encoded)
    targets = sum(len(one.target) for one in encoded)
    count = len(requests)
    if isinstance(editor, FineTune | Lora):
        above = 1 - (params.layers[0] if isinstance(editor, FineTune) else 0) / adapter.depth
        alone = isinstance(editor, FineTune) and params.order == "depth"
        batches = count if alone else math.ceil(count / params.batch)
        return _Effort(
            passes=3 * above * params.steps * batches,
            tokens=3 * above * params.steps * whole,
            predictions=3 * params.steps * targets,
            solves=0,
        )
    if isinstance(editor, Mend | Merge):
        most = params.epochs * params.steps if isinstance(editor, Merge) else 1
        return _Effort(
            passes=3 * most * count,
            tokens=3 * most * whole,
            predictions=3 * most * targets,
            solves=0,
        )
    if isinstance(editor, Rome | SpreadEditor):
        layers = list(params.layers if isinstance(editor, SpreadEditor) else (params.layer,))
        above = 1 - layers[-1] / adapter.depth
        runs = count if isinstance(editor, Rome) else 1
        texts = 1 + 5 * len(params.contexts)
        after = sum(len(one.ids) - one.subject_last for one in encoded)
        read = texts * whole + 5 * sum(params.contexts) * count
        wide = max(read_matrix(adapter.projections[layer]).shape[1] for layer in layers)
        return _Effort(
            passes=5 * sum(params.contexts) + runs * (2 * above * params.steps + 3 * len(layers)),
            tokens=2 * above * params.steps * texts * after
            + read * (2 + 2 * len(layers) / adapter.depth)
            + 5 * sum(length**2 / 2 for length in params.contexts),
            predictions=2 * params.steps * (texts * targets + count),
            solves=len(layers) * (10 if isinstance(editor, AlphaEdit) else 1) * wide**3,
        )
    return None


def _seconds(
    effort: _Effort, adapter: ModelAdapter, layers: Sequence[int], width: int, tokens: int
) -> float:
    """Return what an effort and second moments over `tokens` take, by trial passes."""
    start, each, operation = _speed(adapter)
    config = adapter.model.config.get_text_config()
    logits = 2 * config.vocab_size * adapter.shape.width * operation
    below = each * (max(layers, default=0) + 1) / adapter.depth
    moments = tokens * (below + 2 * len(layers) * width**2 * operation)
    stored = sum(p.numel() * p.element_size() for p in adapter.model.parameters())
    total: float = (
        effort.passes * start
        + effort.tokens * each
        + effort.predictions * logits
        + effort.solves * 2 * operation
        + moments
        + 2 * stored / _HASHED
    )
    return total


def _speed(adapter: ModelAdapter) -> tuple[float, float, float]:
    """Return the seconds that a pass takes to start, that a token takes, and an operation."""
    times = []
    device = adapter.device
    most = min(_TRIAL, adapter.max_length)
    least = max(most // 16, 1)
    with torch.no_grad(), evaluating(adapter.model):
        for tokens in (least, least, most):  # the first warms up
            ids = torch.zeros((1, tokens), dtype=torch.long, device=device)
            place = torch.zeros(1, dtype=torch.long, device=device)
            begun = time.perf_counter()
            with head_at(adapter, place, place):
                adapter.model(input_ids=ids, use_cache=False)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - begun)
    short, long = times[1:]
    each = max(long - short, 0.1 * long) / max(most - least, 1)
    body = sum(weight.numel() for layer in adapter.layers for weight in layer.parameters())
    return max(short - each * least, 0.0), each, each / (2 * body)


def _bytes(
    editor: "WeightEditor", adapter: ModelAdapter, size: int, layers: Sequence[int], width: int
) -> int:
    """Return what is held beside the model."""
    stored = adapter.model.dtype.itemsize
    kept = size * (stored + 8 + (4 if stored < 4 else 0))  # original, start, change, master
    if isinstance(editor, FineTune):
        kept += size * 16  # what is trained, its gradient, and Adam's two
    tables = 4 if isinstance(editor, AlphaEdit) else 3  # sum, mean, factor or basis
    return int(kept + 8 * tables * len(layers) * width**2 + _WORKING)
