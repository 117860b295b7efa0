"""Causal tracing: at which tokens and layers a model's memory of a fact passes through.

The subject's embeddings are disturbed so much that the model hardly knows the answer any more; then
one hidden state at a time is put back as it was, and the answer's probability tells how much of
the memory that state carries.

Source: Meng et al. 2022, "Locating and Editing Factual Associations in GPT", arXiv:2202.05262,
section 2. There, MLP and attention outputs are restored in windows of 10 of 48 layers; here, in
models of a few layers, one layer at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from scr.edits import EditRequest
from scr.errors import InvalidInput
from scr.records import Record

if TYPE_CHECKING:
    from torch import Tensor

Site = Literal["state", "mlp", "attention"]

SITES: Final[tuple[Site, ...]] = ("state", "mlp", "attention")
"""What is restored: the residual stream after a layer, or what its MLP or attention adds."""

POSITIONS: Final = (
    "first subject token",
    "middle subject tokens",
    "last subject token",
    "first later token",
    "middle later tokens",
    "last token",
)
"""Groups of tokens over which effects are averaged; those before the subject have none."""

SAMPLES: Final = 6
"""Noise samples for each prompt."""

NOISE: Final = 3.0
"""Scale of the noise, in standard deviations of subject embeddings."""

_MEMIT_SHARE: Final = 0.5  # of the greatest effect, from which a layer counts among MEMIT's


class TraceReport(Record):
    """What tracing found: mean indirect effects, in probability of the answer's first token."""

    n: int
    """Prompts traced; the model completes each of them rightly."""

    clean: float
    """Mean probability of the answer's first token."""

    corrupted: float
    """The same with the subject disturbed."""

    effects: dict[Site, tuple[tuple[float, ...], ...]]
    """By site, for each group of `POSITIONS` and each layer: mean gain in probability over the
    corrupted run when that one output is restored."""

    rome_layer: int
    """Layer whose MLP at the last subject token has the greatest effect."""

    memit_layers: tuple[int, ...]
    """The layers up to it, without a gap, whose effect is at least half of that."""


class _Traced(NamedTuple):
    ids: "Tensor"  # (T,)
    subject: range  # of tokens
    answer: int


def trace(
    network: Any,
    tokenizer: Any,
    requests: Sequence[EditRequest],
    *,
    n: int = 100,
    seed: int = 0,
    observe: Callable[[int, int], None] | None = None,
) -> TraceReport:
    """Trace the first `n` prompts that the model completes with their old targets.

    Args:
        network: a Llama-type causal language model in evaluation mode.
        tokenizer: its fast tokenizer.
        requests: prompts, subjects and what the model remembers (`old_target`).
        n: most prompts to trace.
        seed: of the noise.
        observe: called with the number of prompts traced and `n`.

    Raises:
        InvalidInput: if the model completes none of them.
    """
    import torch

    known = list(_known(network, tokenizer, requests, n))
    if not known:
        raise InvalidInput(
            "the model completes none of these prompts with what it should remember, "
            "so there is nothing to trace: train it longer, or give it facts it knows"
        )
    generator = torch.Generator().manual_seed(seed)
    scale = NOISE * _subject_deviation(network, known)
    sums = {site: torch.zeros(len(POSITIONS), _depth(network)) for site in SITES}
    counts = torch.zeros(len(POSITIONS))
    clean_sum = corrupted_sum = 0.0
    for done, traced in enumerate(known):
        clean, corrupted, gains = _trace_one(network, traced, scale, generator)
        clean_sum += clean
        corrupted_sum += corrupted
        gains = {site: gain[traced.subject.start :] for site, gain in gains.items()}
        groups = torch.tensor(_groups(traced))
        counts += torch.bincount(groups, minlength=len(POSITIONS))
        for site in SITES:
            sums[site].index_add_(0, groups, gains[site])
        if observe is not None:
            observe(done + 1, len(known))
    means = {site: sums[site] / counts.clamp(min=1)[:, None] for site in SITES}
    rome, memit = suggested_layers(means["mlp"][POSITIONS.index("last subject token")].tolist())
    return TraceReport(
        n=len(known),
        clean=clean_sum / len(known),
        corrupted=corrupted_sum / len(known),
        effects={site: tuple(tuple(row) for row in means[site].tolist()) for site in SITES},
        rome_layer=rome,
        memit_layers=memit,
    )


def suggested_layers(effects: Sequence[float]) -> tuple[int, tuple[int, ...]]:
    """Return the layers to edit for MLP effects at the last subject token: ROME's and MEMIT's."""
    peak = max(range(len(effects)), key=lambda layer: effects[layer])
    first = peak
    while first > 0 and effects[first - 1] >= _MEMIT_SHARE * effects[peak]:
        first -= 1
    return peak, tuple(range(first, peak + 1))


def draw(report: TraceReport, file: Path) -> None:
    """Draw the effects as a picture, one panel for each site; the suffix says the format.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    from scr.lab.pictures import new_figure, save

    figure = new_figure(10.5, 2.8)
    axes = figure.subplots(1, len(SITES), sharey=True)
    top = max(max(map(max, rows)) for rows in report.effects.values())
    for axis, site in zip(axes, SITES, strict=True):
        rows = report.effects[site]
        image = axis.imshow(rows, aspect="auto", cmap="Purples", vmin=0, vmax=top)
        axis.set_title({"state": "hidden state", "mlp": "MLP", "attention": "attention"}[site])
        axis.set_xlabel("layer")
        axis.set_xticks(range(len(rows[0])))
        axis.set_yticks(range(len(POSITIONS)), POSITIONS)
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.015)
    bar.outline.set_visible(False)
    bar.set_label("gain in probability")
    save(figure, file)


def _known(
    network: Any, tokenizer: Any, requests: Sequence[EditRequest], n: int
) -> Iterator[_Traced]:
    import torch

    found = 0
    for request in requests:
        if found == n:
            return
        if request.old_target is None:
            continue
        encoded = tokenizer(request.prompt, return_offsets_mapping=True)
        ids = torch.tensor(encoded["input_ids"])
        whole = tokenizer(f"{request.prompt} {request.old_target}")["input_ids"]
        subject = _span(encoded["offset_mapping"], request)
        with torch.inference_mode():
            wanted = torch.tensor(whole)
            predicted = network(wanted[None]).logits[0, len(ids) - 1 : -1].argmax(-1)
        if torch.equal(predicted, wanted[len(ids) :]):
            found += 1
            yield _Traced(ids, subject, whole[len(ids)])


def _span(offsets: Sequence[tuple[int, int]], request: EditRequest) -> range:
    """Return the tokens whose characters meet the subject's."""
    start = len(request.prefix)
    end = start + len(request.subject)
    places = [
        place
        for place, (first, last) in enumerate(offsets)
        if first < end and last > start and last > first
    ]
    return range(places[0], places[-1] + 1)


def _groups(traced: _Traced) -> list[int]:
    """Return the index in `POSITIONS` of each token from the subject on."""
    subject, last = traced.subject, len(traced.ids) - 1
    inside = [0, *[1] * (len(subject) - 2), 2] if len(subject) > 1 else [2]
    after = [3, *[4] * (last - subject.stop - 1), 5] if last > subject.stop else [5]
    return inside + (after if last >= subject.stop else [])


def _subject_deviation(network: Any, known: Sequence[_Traced]) -> float:
    import torch

    embeddings = network.get_input_embeddings().weight
    ids = torch.cat([traced.ids[traced.subject.start : traced.subject.stop] for traced in known])
    return float(embeddings.detach()[ids].std())


def _depth(network: Any) -> int:
    return len(network.model.layers)


def _module(network: Any, site: Site, layer: int) -> Any:
    block = network.model.layers[layer]
    return {"state": block, "mlp": block.mlp, "attention": block.self_attn}[site]


def _trace_one(
    network: Any, traced: _Traced, scale: float, generator: Any
) -> tuple[float, float, dict[Site, "Tensor"]]:
    """Return the clean and the corrupted probability, and by site the `(T, L)` gains."""
    import torch

    length = len(traced.ids)
    width = network.get_input_embeddings().weight.shape[1]
    noise = torch.zeros(SAMPLES, length, width)
    span = slice(traced.subject.start, traced.subject.stop)
    noise[:, span] = scale * torch.randn(SAMPLES, len(traced.subject), width, generator=generator)
    with torch.inference_mode():
        outputs, clean = _clean_run(network, traced)
        embedded = network.get_input_embeddings()(traced.ids)[None] + noise  # (S, T, d)
        corrupted = _probability(network(inputs_embeds=embedded).logits, traced.answer).mean()
        rows = embedded.repeat(length, 1, 1)  # (T * S, T, d): one block for each restored token
        places = torch.arange(length).repeat_interleave(SAMPLES)
        gains = {site: torch.zeros(length, _depth(network)) for site in SITES}
        for site in SITES:
            for layer in range(_depth(network)):
                with _restored(_module(network, site, layer), outputs[site, layer], places):
                    logits = network(inputs_embeds=rows).logits
                probability = _probability(logits, traced.answer).view(length, SAMPLES)
                gains[site][:, layer] = probability.mean(1) - corrupted
    return clean, float(corrupted), gains


def _clean_run(network: Any, traced: _Traced) -> tuple[dict[tuple[Site, int], "Tensor"], float]:
    """Return every site's `(T, d)` output, and the answer's probability."""
    outputs: dict[tuple[Site, int], Tensor] = {}

    def keep(key: tuple[Site, int]) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            outputs[key] = _tensor(output)[0].clone()

        return hook

    handles = [
        _module(network, site, layer).register_forward_hook(keep((site, layer)))
        for site in SITES
        for layer in range(_depth(network))
    ]
    try:
        logits = network(traced.ids[None]).logits
    finally:
        for handle in handles:
            handle.remove()
    return outputs, float(_probability(logits, traced.answer))


@contextmanager
def _restored(module: Any, output: "Tensor", places: "Tensor") -> Iterator[None]:
    """Put the clean output back at one token of each row."""
    import torch

    rows = torch.arange(len(places))

    def hook(module: Any, args: Any, given: Any) -> Any:
        changed = _tensor(given).clone()
        changed[rows, places] = output[places]
        return (changed, *given[1:]) if isinstance(given, tuple) else changed

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _tensor(output: Any) -> "Tensor":
    first: Tensor = output[0] if isinstance(output, tuple) else output
    return first


def _probability(logits: "Tensor", token: int) -> "Tensor":
    return logits[:, -1].float().softmax(-1)[:, token]
