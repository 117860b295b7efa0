"""What an editor says about an edit: also the manifest that is saved beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from pydantic import ValidationError

from scr.errors import InvalidInput
from scr.records import Record

MANIFEST: Final = "edit.json"
"""File of the report in the folder of a saved edit."""


class RequestReport(Record):
    """What became of one request."""

    id: str
    """Of the request."""

    prompt: str
    """What was to be completed."""

    target: str
    """With what."""

    loss: float | None = None
    """Last loss of what was optimized, in nats."""

    nll: float | None = None
    """The part of it that is the target's mean negative log-probability per token, before the
    weights changed."""

    steps: int | None = None
    """Forward passes it took."""


class Canary(Record):
    """Whether the model is being damaged, measured on text that no edit is about."""

    kl: float
    """Mean divergence KL(before || after) of next-token distributions, in nats per token."""

    tokens: int
    """Predictions compared."""


class EditReport(Record):
    """What was done to a model and what came of it."""

    method: str
    """Name of the editor."""

    model_hash: str
    """Hash of the weights that the edit was made for."""

    origin_hash: str
    """Hash of the weights with which the editor began its sequence of edits."""

    params: Mapping[str, Any]
    """Hyper-parameters, defaults filled in."""

    seed: int
    """Of whatever was drawn."""

    requests: tuple[RequestReport, ...]
    """In the order they were given in."""

    contexts: tuple[tuple[str, ...], ...] = ()
    """Context templates, by group."""

    changed: Mapping[str, tuple[float, float]]
    """By parameter: norm of the change and of what it was before."""

    measures: Mapping[str, float] = {}
    """What else the method measured of itself, by name."""

    seconds: Mapping[str, float]
    """Wall time by part of the work."""

    peak_bytes: int
    """Most memory the process has held so far (on a GPU: that torch has held there)."""

    canary: Canary | None = None
    """Damage on held-out text; `None` where none was given."""

    warnings: tuple[str, ...] = ()
    """What a person should look at."""

    versions: Mapping[str, str]
    """Of the libraries that computed it."""

    @property
    def growth(self) -> float:
        """Greatest norm of a change, as a share of the norm of what was changed."""
        return max((new / old for new, old in self.changed.values() if old), default=0.0)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the report of a saved edit, without its weights.

        Raises:
            InvalidInput: if the folder holds none, or a damaged one.
        """
        try:
            return cls.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"{folder} holds no whole edit of this version: make it again with "
                "`scr edit apply --out`"
            ) from error
