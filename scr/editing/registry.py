"""Every editor by its name."""

from collections.abc import Mapping
from typing import Any, Final

from scr.editing.editor import WeightEditor
from scr.editing.finetune import FineTune, FineTuneBox, FineTuneBreadth, FineTuneMasked
from scr.editing.lora import Lora
from scr.editing.lyaplock import LyapLock
from scr.editing.mend import Mend
from scr.editing.merging import Merge
from scr.editing.rome import Rome, RRome
from scr.editing.spreading import AlphaEdit, Emmet, Memit, MemitSeq
from scr.errors import InvalidInput

EDITORS: Final[Mapping[str, type[WeightEditor]]] = {
    kind.name: kind
    for kind in (
        FineTune,
        FineTuneBox,
        FineTuneMasked,
        FineTuneBreadth,
        Lora,
        Rome,
        RRome,
        Memit,
        MemitSeq,
        Emmet,
        AlphaEdit,
        LyapLock,
        Mend,
        Merge,
    )
}
"""The methods, simple ones first."""


def make_editor(name: str, **options: Any) -> WeightEditor:
    """Return a new editor.

    Args:
        name: of the method, as in `EDITORS`.
        **options: see `WeightEditor`.

    Raises:
        InvalidInput: if there is no such method, or a hyper-parameter cannot be.
    """
    if name not in EDITORS:
        raise InvalidInput(f"no method is called {name!r}; there are {', '.join(EDITORS)}")
    return EDITORS[name](**options)
