"""An edited model as a folder, which can be turned back to the bit."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from scr.editing.report import EditReport
from scr.editing.weights import SavedEdit, fingerprint
from scr.errors import EditOrder, InvalidInput, ModelUnavailable
from scr.records import Record

KEPT: Final = "scr-edit"
"""Folder beside the weights, with the note and what the edit replaced."""

_ORIGINALS: Final = "originals.safetensors"
_NOTE: Final = "note.json"
_LISTED: Final = 50  # requests in the note for people


class ExportNote(Record):
    """What was done to an exported model."""

    model: str
    """The model that was edited, as it was named."""

    checkpoint_dtype: str | None
    """Type of that model's weights on disk; `None`: that in which it was edited."""

    edited_hash: str
    """Hash of the weights as they were exported."""

    report: EditReport
    """Of the edit; its `model_hash` is that of the weights before, as they were edited."""


def export_edited(
    saved: SavedEdit,
    model: Any,
    tokenizer: Any,
    folder: Path,
    *,
    name: str = "",
    checkpoint_dtype: str | None = None,
    beside: Sequence[Path] = (),
) -> ExportNote:
    """Write a model with a saved edit in its weights, and what was there before beside it.

    Args:
        saved: the edit.
        model: the one it was made for; it is as before in the end.
        tokenizer: written too.
        folder: made if missing.
        name: of the model, for the note.
        checkpoint_dtype: such as `bfloat16`: of the model on disk, to which `restore_exported`
            goes back if no bit is lost by it.
        beside: further files to copy into the folder.

    Returns:
        What is kept beside the weights.

    Raises:
        EditOrder: if the edit was made for other weights.
        InvalidInput: if the folder cannot be written.
    """
    parameters = dict(model.named_parameters())
    before = {n: parameters[n].detach().cpu().clone() for n in saved.weights if n in parameters}
    with saved.apply(model):
        note = ExportNote(
            model=name,
            checkpoint_dtype=checkpoint_dtype,
            edited_hash=fingerprint(model),
            report=saved.report,
        )
        try:
            (folder / KEPT).mkdir(parents=True, exist_ok=True)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            for file in beside:
                shutil.copyfile(file, folder / file.name)
            save_file({n: t.contiguous() for n, t in before.items()}, folder / KEPT / _ORIGINALS)
            (folder / KEPT / "README.md").write_text(_readme(note), encoding="utf-8")
            text = note.model_dump_json(indent=2) + "\n"
            (folder / KEPT / _NOTE).write_text(text, encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"{folder} cannot be written: {error}") from error
    return note


def restore_exported(folder: Path) -> ExportNote:
    """Take the edit out of an exported model, to the bit; return what it was.

    The weights get the type of the model's own checkpoint again, where that holds the very same
    numbers. The folder is replaced whole or not at all.

    Raises:
        InvalidInput: if the folder holds no exported model, or cannot be written.
        EditOrder: if its weights have changed since; nothing is written then.
        ModelUnavailable: if it is damaged.
    """
    import torch

    folder = folder.resolve()
    note, originals = _kept(folder)
    model, tokenizer = _load(folder)
    if fingerprint(model) != note.edited_hash:
        raise EditOrder(f"the weights in {folder} have changed since the export: export anew")
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, original in originals.items():
            parameters[name].copy_(original)
    if fingerprint(model) != note.report.model_hash:
        raise EditOrder(
            f"what is kept in {folder / KEPT} is not what the edit was made for: export anew"
        )
    _narrow(model, note.checkpoint_dtype)
    _replace(folder, model, tokenizer)
    return note


def _kept(folder: Path) -> tuple[ExportNote, dict[str, Any]]:
    try:
        note = ExportNote.model_validate_json((folder / KEPT / _NOTE).read_text(encoding="utf-8"))
        return note, load_file(folder / KEPT / _ORIGINALS)
    except (OSError, ValidationError, SafetensorError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{folder} holds no model written by `scr edit export`") from error


def _load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", local_files_only=True)
        return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # what damaged files raise has no class in common
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelUnavailable(str(folder), f"a file is missing or damaged ({first})") from error


def _narrow(model: Any, dtype: str | None) -> None:
    """Give the weights a type, if each number comes back from it as it was."""
    import torch

    wanted = getattr(torch, dtype, None) if dtype else None
    if not isinstance(wanted, torch.dtype) or wanted == model.dtype:
        return
    if all(torch.equal(p.to(wanted).to(p.dtype), p) for p in model.parameters()):
        model.to(wanted)


def _replace(folder: Path, model: Any, tokenizer: Any) -> None:
    """Put a model in the place of a folder's weights; files that are not its own stay."""
    fresh = folder.with_name(f".{folder.name}.restored")
    old = folder.with_name(f".{folder.name}.edited")
    try:
        for left in (fresh, old):
            if left.exists():
                shutil.rmtree(left)
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        for path in folder.iterdir():
            own = path.name == KEPT or path.name.startswith("model")
            if own or (fresh / path.name).exists():
                continue
            copy: Any = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, fresh / path.name)
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written: {error}") from error


def _readme(note: ExportNote) -> str:
    report = note.report
    rows = [f"- `{r.prompt}` → `{r.target}`" for r in report.requests[:_LISTED]]
    if len(report.requests) > _LISTED:
        rows.append(f"- … and {len(report.requests) - _LISTED} more, in `{_NOTE}`")
    changed = [f"- `{name}`" for name in report.changed]
    warnings = [f"- {warning}" for warning in report.warnings] or ["- none"]
    opening = (
        f"These are the weights of {note.model or 'a model'} with {len(report.requests)} edits by "
        f"`{report.method}`. `scr edit restore MODEL` takes them out again, to the bit."
    )
    parts = [("Edits", rows), ("Changed", changed), ("Warnings", warnings)]
    sections = [f"## {title}\n\n" + "\n".join(lines) for title, lines in parts]
    return "\n\n".join(["# An edited model", opening, *sections]) + "\n"
