"""Pictures for model cards: matplotlib, drawn without a display."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scr.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    from scr.lab.training import Progress

FORMATS = (".svg", ".png", ".pdf")


def require_matplotlib() -> None:
    """Check that pictures can be drawn, before hours of work end in one.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra("eval", "matplotlib", "drawing pictures") from error


def check_format(file: Path) -> None:
    """Check that pictures can be written in the format that a file's name asks for.

    Raises:
        InvalidInput: they cannot.
    """
    if file.suffix not in FORMATS:
        raise InvalidInput(f"{file} cannot be drawn: name it with {', '.join(FORMATS)}")


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Any, file: Path) -> None:
    """Write a figure; the same figure gives the same bytes."""
    import matplotlib as mpl

    file.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "scr"}):
        metadata = {"Date": None} if file.suffix == ".svg" else None
        figure.savefig(file, dpi=150, metadata=metadata)


def draw_losses(lines: Sequence["Progress"], file: Path) -> None:
    """Draw the loss curves of a training run.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    figure = new_figure(7, 3.4)
    axis = figure.subplots()
    tokens = [line.tokens / 1e6 for line in lines]
    curves = {
        "closed-book": [line.closed_loss for line in lines],
        "context, as the composer shows it": [line.composer_loss for line in lines],
        "context, shown in other ways": [line.others_loss for line in lines],
    }
    for (name, losses), color in zip(
        curves.items(), ("#444444", "#6a51a3", "#9ecae1"), strict=True
    ):
        axis.plot(tokens, losses, label=name, color=color, linewidth=1.4)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.set_xlabel("million tokens")
    axis.set_ylabel("loss, nats")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    save(figure, file)
