"""An edited model as a folder, which can be turned back to the bit."""

import shutil
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file, save_file

from scr.editing.report import EditReport
from scr.editing.weights import MANIFEST, WEIGHTS, SavedEdit, fingerprint
from scr.errors import EditOrder, InvalidInput

KEPT: Final = "scr-edit"
"""Folder beside the weights, with the edit and what it replaced."""

_ORIGINALS: Final = "originals.safetensors"
_EDITED: Final = "edited-hash"


def export_edited(saved: SavedEdit, model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model with a saved edit in its weights, and what was there before beside it.

    Args:
        saved: the edit.
        model: the one it was made for; it is as before in the end.
        tokenizer: written too.
        folder: made if missing.

    Raises:
        EditOrder: if the edit was made for other weights.
    """
    parameters = dict(model.named_parameters())
    before = {n: parameters[n].detach().cpu().clone() for n in saved.weights if n in parameters}
    with saved.apply(model) as edit:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        kept = folder / KEPT
        edit.save(kept)
        save_file({n: t.contiguous() for n, t in before.items()}, kept / _ORIGINALS)
        (kept / _EDITED).write_text(fingerprint(model) + "\n", encoding="utf-8")


def restore_exported(folder: Path) -> EditReport:
    """Take the edit out of an exported model, to the bit; return what it was.

    Raises:
        InvalidInput: if the folder holds no exported model.
        EditOrder: if its weights have changed since; nothing is written then.
    """
    import torch
    from transformers import AutoModelForCausalLM

    kept = folder / KEPT
    if not all((kept / name).is_file() for name in (_ORIGINALS, _EDITED, MANIFEST, WEIGHTS)):
        raise InvalidInput(f"{folder} holds no model written by `scr edit export`")
    saved = SavedEdit(kept)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", local_files_only=True)
    if fingerprint(model) != (kept / _EDITED).read_text(encoding="utf-8").strip():
        raise EditOrder(f"the weights in {folder} have changed since the export: export anew")
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, original in load_file(kept / _ORIGINALS).items():
            parameters[name].copy_(original)
    if fingerprint(model) != saved.report.model_hash:
        raise EditOrder(f"what is kept in {kept} is not what the edit was made for: export anew")
    model.save_pretrained(folder)
    shutil.rmtree(kept)
    return saved.report
