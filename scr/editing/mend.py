"""MEND: small networks, trained beforehand, rewrite an edit's gradient into one that generalizes.

The gradient of a matrix is a sum over tokens of outer products of what goes in and what the loss
wants changed of what comes out. A network for each shape of matrix maps these two factors to
others, whose outer products are added to the matrix with a learned step. `mend_training` trains it;
the steps' sign is learned too, so an untrained editor is refused.

Source: Mitchell et al. 2022, "Fast Model Editing at Scale", arXiv:2110.11309, section 3, and the
code of its authors.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scr.editing.adapter import ModelAdapter, Shape, is_projection, read_matrix
from scr.editing.editor import EditorParams, WeightEditor, Work
from scr.editing.finetune import Batch, make_batch, mean_loss, teacher_forced
from scr.editing.passes import hooked
from scr.editing.report import RequestReport
from scr.editing.weights import fingerprint
from scr.errors import EditFailed, InvalidInput
from scr.facts import explain
from scr.records import Record

NETWORKS: Final = "networks.safetensors"
CARD: Final = "mend.json"

STEP: Final = 1e-4
"""First step of every matrix; in Mitchell et al. it is positive too, and training turns it."""

_EPSILON: Final = 1e-7  # beside a standard deviation


class MendCard(Record):
    """What networks were trained for, and how."""

    matrices: tuple[tuple[str, int, int], ...]
    """Name, inputs and outputs of every matrix that is edited."""

    rank: int
    """Of the networks' layers."""

    model_hash: str
    """Hash of the weights that they were trained around."""

    trained: int = 0
    """Samples seen."""

    settings: Mapping[str, Any] = {}
    """Of the training."""

    history: tuple[Mapping[str, float], ...] = ()
    """Validation losses, a line each."""


class Factors(NamedTuple):
    """The gradient of one matrix, token by token."""

    inputs: Tensor
    """`(tokens, in)` what went in."""

    wanted: Tensor
    """`(tokens, out)` gradient of the loss by what came out."""


class Normalizer(nn.Module):
    """Brings each component to mean 0 and deviation 1, by what training has shown (Welford)."""

    count: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.zeros(width))

    def see(self, rows: Tensor) -> None:
        """Count `(n, width)` rows in."""
        rows = rows.detach().to(self.mean.dtype)
        total = self.count + len(rows)
        mean = rows.mean(0)
        gap = mean - self.mean
        self.spread += ((rows - mean) ** 2).sum(0) + gap**2 * self.count * len(rows) / total
        self.mean += gap * len(rows) / total
        self.count.copy_(total)

    def forward(self, rows: Tensor) -> Tensor:
        """Return `(n, width)` normalized rows; as they are where fewer than two were seen."""
        if self.count < 2:
            return rows
        deviation = (self.spread / (self.count - 1)).sqrt()
        return (rows - self.mean) / (deviation + _EPSILON)


class _LowRank(nn.Module):
    """`h + max(0, scale * (U V h + b) + shift)`, with scale and shift of each matrix."""

    def __init__(self, width: int, rank: int, matrices: int, generator: torch.Generator) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn((rank, width), generator=generator) / width**0.5)
        self.up = nn.Parameter(torch.zeros((width, rank)))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.ones((matrices, width)))
        self.shift = nn.Parameter(torch.zeros((matrices, width)))

    def forward(self, rows: Tensor, matrix: int) -> Tensor:
        moved = rows @ self.down.T @ self.up.T + self.bias
        # `clamp` and not `relu`: at 0, where everything begins, its gradient is not 0
        return rows + (self.scale[matrix] * moved + self.shift[matrix]).clamp(min=0)


class FactorNetwork(nn.Module):
    """Maps the two factors of a gradient to two others, for all matrices of one shape."""

    def __init__(
        self, inputs: int, outputs: int, rank: int, matrices: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        width = inputs + outputs
        self.inputs, self.wanted = Normalizer(inputs), Normalizer(outputs)
        rank = min(rank, width)
        self.first = _LowRank(width, rank, matrices, generator)
        self.second = _LowRank(width, rank, matrices, generator)

    def forward(self, factors: Factors, matrix: int) -> Factors:
        """Return the rewritten factors; in training mode they are counted in first."""
        if self.training:
            self.inputs.see(factors.inputs)
            self.wanted.see(factors.wanted)
        rows = torch.cat([self.inputs(factors.inputs), self.wanted(factors.wanted)], 1)
        rows = self.second(self.first(rows, matrix), matrix)
        return Factors(*rows.split([factors.inputs.shape[1], factors.wanted.shape[1]], 1))


class MendNetworks(nn.Module):
    """All networks of an editor, with a step for each matrix.

    Args:
        card: what they are for.
        step: first step of every matrix.
        seed: of the networks' random parts.
    """

    def __init__(self, card: MendCard, *, step: float = STEP, seed: int = 0) -> None:
        super().__init__()
        self.card = card
        generator = torch.Generator().manual_seed(seed)
        shapes: dict[str, list[int]] = {}
        self._place: list[tuple[str, int]] = []  # of each matrix: its shape, its number there
        for number, (_, inputs, outputs) in enumerate(card.matrices):
            same = shapes.setdefault(f"{inputs}x{outputs}", [])
            self._place.append((f"{inputs}x{outputs}", len(same)))
            same.append(number)
        self.networks = nn.ModuleDict(
            {
                shape: FactorNetwork(
                    *card.matrices[numbers[0]][1:], card.rank, len(numbers), generator
                )
                for shape, numbers in shapes.items()
            }
        )
        self.steps = nn.Parameter(torch.full((len(card.matrices),), step))

    def forward(self, factors: Sequence[Factors]) -> list[Factors]:
        """Return the rewritten factors of every matrix; tokens without any gradient are left out.

        The second of each is multiplied by the matrix's step: what is to be added to it is the sum
        of their outer products.
        """
        found = []
        for number, ((shape, place), own) in enumerate(zip(self._place, factors, strict=True)):
            real = own.inputs.any(1) & own.wanted.any(1)
            kept = Factors(own.inputs[real], own.wanted[real])
            inputs, wanted = self.networks[shape](kept, place)
            found.append(Factors(inputs, self.steps[number] * wanted))
        return found

    def save(self, folder: Path) -> None:
        """Write networks and card."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {n: t.detach().cpu().contiguous() for n, t in self.state_dict().items()}
        partial = folder / f"{NETWORKS}.tmp"
        save_file(tensors, partial)
        partial.replace(folder / NETWORKS)
        text = json.dumps(self.card.model_dump(mode="json"), indent=2)
        (folder / CARD).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "MendNetworks":
        """Read networks.

        Raises:
            InvalidInput: if the folder holds none, or damaged ones.
        """
        try:
            card = MendCard.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
            networks = cls(card)
            networks.load_state_dict(load_file(folder / NETWORKS))
        except ValidationError as error:
            raise InvalidInput(f"{folder / CARD} is damaged: {explain(error)}") from error
        except (OSError, SafetensorError, RuntimeError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"{folder} holds no whole MEND networks: train them with `scr edit train-mend`"
            ) from error
        return networks.eval()


class MendParams(EditorParams):
    """MEND's hyper-parameters."""

    trained: Path | None = None
    """Folder of trained networks, as `scr edit train-mend` writes it."""

    scale: float = Field(default=1.0, ge=0)
    """Factor of the learned steps."""


class Mend(WeightEditor):
    """One backward pass, rewritten by trained networks, edits the last layers' MLPs."""

    name = "mend"
    summary = "a trained network rewrites the edit's gradient: one backward pass an edit"
    Params: ClassVar[Any] = MendParams

    def __init__(self, *, networks: MendNetworks | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._networks = networks

    @classmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return nothing: what is edited was settled when the networks were trained."""
        return {}

    def changed_modules(self, adapter: ModelAdapter, params: MendParams) -> Sequence[Any]:
        """Return the matrices that the networks were trained for."""
        return modules_of(adapter, self._trained(params).card)

    def _edit(self, work: Work) -> list[RequestReport]:
        adapter = work.adapter
        networks = self._trained(work.params)
        if networks.card.model_hash != self._origin:
            work.warnings.append("MEND's networks were trained around other weights than these")
        networks = networks.to(adapter.device, _wide(adapter)).eval()
        modules = modules_of(adapter, networks.card)
        samples = [teacher_forced(work.tokenizer, request) for request in work.requests]
        with work.timed("gradient"):
            batch = make_batch(samples, adapter.device)
            loss, factors = read_factors(adapter, modules, batch, len(samples))
        with work.timed("networks"), torch.no_grad():
            rewritten = networks(factors)
        for module, (inputs, wanted) in zip(modules, rewritten, strict=True):
            change = work.params.scale * wanted.T @ inputs
            work.change.add(adapter.weight_name(module), module, change)
        work.progress("edits")(len(samples), len(samples))
        return [
            RequestReport(id=r.id, prompt=r.prompt, target=r.target, loss=loss, steps=1)
            for r in work.requests
        ]

    def _trained(self, params: MendParams) -> MendNetworks:
        if self._networks is None and params.trained is not None:
            self._networks = MendNetworks.load(params.trained)
        if self._networks is None or not self._networks.card.trained:
            raise InvalidInput(
                "MEND edits by networks that were trained on other edits of this very model: train "
                "them with `scr edit train-mend`, and name their folder in `trained`"
            )
        return self._networks


def card_for(adapter: ModelAdapter, last: int, rank: int) -> MendCard:
    """Return the card of networks for a model, before any training.

    Raises:
        ModelNotEditable: if the model has fewer layers than the `last` ones to be edited.
    """
    matrices = []
    for module in adapter.mlp_matrices(range(adapter.depth - last, adapter.depth)):
        outputs, inputs = read_matrix(module).shape
        matrices.append((adapter.weight_name(module), inputs, outputs))
    return MendCard(matrices=tuple(matrices), rank=rank, model_hash=fingerprint(adapter.model))


def modules_of(adapter: ModelAdapter, card: MendCard) -> list[nn.Module]:
    """Return the modules that networks edit.

    Raises:
        InvalidInput: if the model has others: the networks were trained for another one.
    """
    known = {f"{name}.weight": m for name, m in adapter.model.named_modules() if is_projection(m)}
    for name, inputs, outputs in card.matrices:
        if name not in known or tuple(read_matrix(known[name]).shape) != (outputs, inputs):
            raise InvalidInput(
                f"these MEND networks were trained for another model: this one has no {name} of "
                f"{inputs} inputs and {outputs} outputs"
            )
    return [known[name] for name, _, _ in card.matrices]


def read_factors(
    adapter: ModelAdapter, modules: Sequence[nn.Module], batch: Batch, samples: int
) -> tuple[float, list[Factors]]:
    """Return the loss of a batch and, for each module, the factors of its matrix's gradient.

    The gradient is that of the sum over samples of their mean losses, so that a sample's factors do
    not depend on how many there are. Real tokens only, those of all samples in a row.

    Raises:
        EditFailed: if the loss is no number.
    """
    inputs: dict[int, Tensor] = {}
    probes: dict[int, Tensor] = {}

    def probing(number: int) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> Tensor:
            inputs[number] = args[0].detach()
            # its gradient is that of the output; no parameter has to ask for one
            probes[number] = torch.zeros_like(output).requires_grad_(True)
            return output + probes[number]

        return hook

    with hooked(*((module, probing(n)) for n, module in enumerate(modules))):
        loss = mean_loss(adapter, batch)
    if not bool(loss.isfinite()):
        raise EditFailed("the loss of this edit is no number: load the model in float32")
    numbers = range(len(modules))
    gradients = torch.autograd.grad(samples * loss, [probes[n] for n in numbers])
    real, wide = batch.padded.mask.bool(), _wide(adapter)
    return loss.item(), [
        Factors(inputs[n][real].to(wide), gradient[real].to(wide))
        for n, gradient in zip(numbers, gradients, strict=True)
    ]


def edits_of(
    modules: Sequence[nn.Module], rewritten: Sequence[Factors]
) -> Iterator[tuple[nn.Module, Any]]:
    """Yield hooks that let each module put out what it would with the edit in its matrix."""

    def adding(own: Factors) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> Tensor:
            change = (args[0].to(own.inputs.dtype) @ own.inputs.T) @ own.wanted
            edited: Tensor = output + change.to(output.dtype)
            return edited

        return hook

    for module, own in zip(modules, rewritten, strict=True):
        yield module, adding(own)


def _wide(adapter: ModelAdapter) -> torch.dtype:
    return torch.float64 if adapter.model.dtype == torch.float64 else torch.float32
