"""Changing weights so that they can be put back to the bit, saved, and put on again."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from scr.editing.adapter import stored
from scr.editing.report import MANIFEST, EditReport
from scr.errors import EditFailed, EditOrder, InvalidInput

WEIGHTS: Final = "weights.safetensors"
STATE: Final = "state.safetensors"

_WIDE: Final = (torch.float32, torch.float64)


Digests = dict[str, tuple[tuple[int, int], str]]
"""Hashes of parameters by name, with the place and version of what was hashed."""


def fingerprint(model: Any, known: Digests | None = None) -> str:
    """Return a hash of a model's weights: names, types, shapes and bits.

    Args:
        model: whose.
        known: hashes from before; parameters not written to since are not hashed again.
    """
    known = {} if known is None else known
    digest = hashlib.blake2b(digest_size=16)
    for name, parameter in model.named_parameters():
        mark = (parameter.data_ptr(), parameter._version)
        if name not in known or known[name][0] != mark:
            known[name] = (mark, digest_of(parameter))
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)} ".encode())
        digest.update(known[name][1].encode())
    return digest.hexdigest()


def _bits(tensor: Tensor) -> Any:
    flat = tensor.detach().to("cpu").contiguous().view(torch.uint8).flatten()
    return flat.numpy().data


def digest_of(tensor: Tensor) -> str:
    """Return a hash of a tensor's bits."""
    return hashlib.blake2b(_bits(tensor), digest_size=16).hexdigest()


class WeightChange:
    """A change in the making: parameters are copied before they are first touched.

    Args:
        model: whose weights change.
        masters: float32 copies of 16-bit parameters by name, kept by whoever edits in sequence, so
            that many small changes add up instead of being rounded away one by one.
    """

    def __init__(self, model: Any, masters: dict[str, Tensor]) -> None:
        self.model = model
        self._parameters = dict(model.named_parameters())
        for name in list(masters):  # those of a saved edit come from a file
            parameter = self._parameters[name]
            masters[name] = masters[name].to(parameter.device)
            if parameter.dtype in _WIDE:
                del masters[name]
        self._masters = masters
        self._masters_before = dict(masters)
        self._originals: dict[str, Tensor] = {}
        self._starts: dict[str, Tensor] = {}

    @property
    def names(self) -> list[str]:
        """Names of the parameters touched."""
        return list(self._originals)

    def master(self, name: str) -> Tensor:
        """Return a parameter in full precision, as it is now."""
        parameter = self._parameters[name]
        if parameter.dtype in _WIDE:
            wide: Tensor = parameter.detach()
            return wide
        master = self._masters.get(name)
        if master is None or not torch.equal(master.to(parameter.dtype), parameter):
            master = parameter.detach().float()  # first edit, or somebody else has changed it
        return master

    def touch(self, name: str) -> None:
        """Keep a parameter as it is, to be put back."""
        if name not in self._originals:
            self._originals[name] = self._parameters[name].detach().clone()
            wide = self._parameters[name].dtype in _WIDE
            self._starts[name] = self._originals[name] if wide else self.master(name).clone()

    def add(self, name: str, module: Any, change: Tensor) -> None:
        """Add an `(out, in)` change to a projection's matrix.

        Raises:
            EditFailed: if it has numbers that are not finite.
        """
        self.write(name, self.master(name) + stored(module, change).to(self.master(name).dtype))

    @torch.no_grad()
    def write(self, name: str, value: Tensor) -> None:
        """Give a parameter another value, in full precision and stored orientation.

        Raises:
            EditFailed: if it has numbers that are not finite.
        """
        if not bool(value.isfinite().all()):
            raise EditFailed(
                f"the new {name} has numbers that are not finite: the edit is numerically "
                "unusable; check the second moments, or lower the rate"
            )
        self.touch(name)
        parameter = self._parameters[name]
        parameter.copy_(value)
        if parameter.dtype not in _WIDE:
            self._masters[name] = value.to(torch.float32).clone()

    def written(self) -> dict[str, Tensor]:
        """Return the parameters touched in full precision, as they are now."""
        return {name: self.master(name) for name in self._starts}

    def deltas(self) -> dict[str, Tensor]:
        """Return what has been added to each parameter, in stored orientation."""
        return {name: self.master(name) - start for name, start in self._starts.items()}

    def originals(self) -> dict[str, Tensor]:
        """Return the parameters as they were."""
        return self._originals

    @torch.no_grad()
    def undo(self) -> None:
        """Put everything back to the bit."""
        for name, original in self._originals.items():
            self._parameters[name].copy_(original)
        self._masters.clear()
        self._masters.update(self._masters_before)
        self._originals, self._starts = {}, {}


class AppliedEdit:
    """An edit that is in a model's weights; as a context manager it is undone at the end.

    Edits lie on each other like plates: the last one put on is the first to be taken off.
    """

    def __init__(
        self,
        change: WeightChange,
        report: EditReport,
        *,
        state: Mapping[str, Tensor] | None = None,
        check: Callable[[], None] | None = None,
        on_restore: Callable[[], None] | None = None,
    ) -> None:
        self.deltas: dict[str, Tensor] = {n: d.cpu() for n, d in change.deltas().items()}
        """What was added to each parameter, in the orientation it is stored in."""
        self._written = {n: t.detach().cpu().clone() for n, t in change.written().items()}
        self.report = report
        """What was done and what came of it."""
        self.state = dict(state or {})
        """What the editor remembers for the next edit in sequence."""
        self._change = change
        self._check, self._on_restore = check, on_restore
        self._active = True
        parameters = dict(change.model.named_parameters())
        self._left = {name: digest_of(parameters[name]) for name in change.names}

    def __enter__(self) -> Self:
        """Return the edit."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Undo the edit."""
        self.restore()

    def restore(self) -> None:
        """Put every weight back to the bit, and the editor to what it remembered before.

        A second call does nothing.

        Raises:
            EditOrder: if the weights are not those that this edit left, as when another edit
                lies on top; nothing is changed then.
        """
        if not self._active:
            return
        if self._check is not None:
            self._check()
        parameters = dict(self._change.model.named_parameters())
        for name, left in self._left.items():
            if digest_of(parameters[name]) != left:
                raise EditOrder(
                    f"{name} is not as this edit left it: undo what was done after it first"
                )
        self._change.undo()
        if self._on_restore is not None:
            self._on_restore()
        self._active = False

    def save(self, folder: Path) -> None:
        """Write the edit, to be put on the same model by `AppliedEdit.load(folder).apply(model)`.

        What is written are the weights themselves, not what was added to them: a sum of rounded
        numbers would not give the same bits again, and no later edit could be put on top.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written = {name: tensor.contiguous() for name, tensor in self._written.items()}
        save_file(written, folder / WEIGHTS)
        if self.state:
            save_file({n: t.cpu().contiguous() for n, t in self.state.items()}, folder / STATE)
        manifest = self.report.model_dump_json(indent=2)
        (folder / MANIFEST).write_text(manifest + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> "SavedEdit":
        """Read an edit that was saved; see `SavedEdit`."""
        return SavedEdit(folder)


class SavedEdit:
    """An edit on disk.

    Args:
        folder: where `AppliedEdit.save` wrote it.

    Raises:
        InvalidInput: if it holds no edit, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self.report = EditReport.read(folder)
        try:
            self.weights: dict[str, Tensor] = load_file(folder / WEIGHTS)
            held = folder / STATE
            self.state: dict[str, Tensor] = load_file(held) if held.is_file() else {}
        except (OSError, SafetensorError) as error:
            raise InvalidInput(
                f"{folder} holds no whole edit of this version: make it again with "
                "`scr edit apply --out`"
            ) from error

    def apply(self, model: Any) -> AppliedEdit:
        """Put the edit on the model that it was made for, loaded anew.

        Raises:
            EditOrder: if the model has other weights.
        """
        if fingerprint(model) != self.report.model_hash:
            raise EditOrder(
                "this edit was made for other weights: put it on the very model, and after the "
                "very edits, that it was made for"
            )
        change = WeightChange(model, {})
        for name, weight in self.weights.items():
            change.write(name, weight.to(model.device))
        return AppliedEdit(change, self.report, state=self.state)


def norms(model: Any, change: WeightChange) -> dict[str, tuple[float, float]]:
    """Return for each touched parameter the norm of the change and that of the original."""
    starts: Sequence[tuple[str, Tensor]] = list(change.originals().items())
    deltas = change.deltas()
    return {
        name: (float(deltas[name].double().norm()), float(start.double().norm()))
        for name, start in starts
    }
