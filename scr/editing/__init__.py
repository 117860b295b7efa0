"""Editing weights: methods that change a model so that it says new facts, and can be undone.

    adapter      where a model keeps what is changed      prompts   requests as token ids
    passes       running parts of a model                 targets   the vectors that edits want
    moments      what matrices are usually asked          solves    the closed forms
    weights      changes that can be undone and saved     editor    what all methods share
    rome, spreading, finetune, lora: the methods          registry  the methods by name

Knows nothing of stores, detectors or servers. Heavy imports happen when an editor is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scr.editing.editor import Editor
    from scr.editing.registry import EDITORS, make_editor
    from scr.editing.weights import AppliedEdit, SavedEdit

__all__ = ["EDITORS", "AppliedEdit", "Editor", "SavedEdit", "make_editor"]

_HOMES = {
    "Editor": "scr.editing.editor",
    "EDITORS": "scr.editing.registry",
    "make_editor": "scr.editing.registry",
    "AppliedEdit": "scr.editing.weights",
    "SavedEdit": "scr.editing.weights",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
