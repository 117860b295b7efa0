"""Loads transformers models, and says how to get those that are not here."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scr.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HUB_TIMEOUT = 10.0  # seconds to learn whether the hub has a model


def load_network(
    name: str, *, device: str = "auto", dtype: str = "auto"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a causal language model and its tokenizer, in evaluation mode.

    A folder or the local cache is used without asking the network; only a model that is in
    neither is downloaded.

    Args:
        name: a folder, or a model's id on the hub.
        device: as torch names it; `auto` is the first of cuda, mps and cpu that is there.
        dtype: such as `bfloat16`; `auto` is float32 on the CPU, elsewhere the checkpoint's.

    Raises:
        ModelUnavailable: saying how to get it.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir() and _is_path(name):
        raise ModelUnavailable(name, "there is no such folder")
    source = str(folder) if folder.is_dir() else name
    try:
        return _load(source, device, dtype, offline=True)
    except OSError as error:
        if folder.is_dir():
            reason = f"the folder lacks a file, or one is damaged ({_first(error)})"
            raise ModelUnavailable(name, reason) from error
    except Exception as error:  # what damaged files raise has no class in common
        raise _unusable(name, error) from error
    _ask_hub(name)
    try:
        return _load(source, device, dtype, offline=False)
    except Exception as error:  # as above
        raise _unusable(name, error) from error


def _load(
    source: str, device: str, dtype: str, *, offline: bool
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = _device(device)
    if dtype == "auto" and place == "cpu":
        dtype = "float32"
    with without_bars():
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=offline)
        network: Any = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, local_files_only=offline
        )
    return network.to(place).eval(), tokenizer


def _ask_hub(name: str) -> None:
    """Fail at once where the hub cannot give a model; its loaders would retry for a minute."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    reason = "it is neither a folder nor in the local cache, and "
    try:
        HfApi().model_info(name, timeout=HUB_TIMEOUT)
    except GatedRepoError as error:
        how = "its terms have to be accepted on its page; then run `hf auth login`"
        raise ModelUnavailable(name, f"{reason}{how}") from error
    except RepositoryNotFoundError as error:
        how = "the hub has no public model of that name; check the spelling, or `hf auth login`"
        raise ModelUnavailable(name, f"{reason}{how}") from error
    except ValueError as error:
        raise ModelUnavailable(name, f"{reason}this is no name of a model on the hub") from error
    except (OSError, httpx2.HTTPError) as error:
        how = (
            f"the hub cannot be reached ({_first(error)}); run `hf download {name}` where there "
            "is a network and name the folder, or use `lab`, the model that comes with SCR"
        )
        raise ModelUnavailable(name, f"{reason}{how}") from error


def _unusable(name: str, error: Exception) -> ModelUnavailable:
    reason = f"it is damaged, or no causal language model for chat ({_first(error)})"
    return ModelUnavailable(name, reason)


def _device(name: str) -> str:
    import torch

    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def without_bars() -> "Iterator[None]":
    """Keep transformers from drawing its own bars on the terminal."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _is_path(name: str) -> bool:
    return name.startswith((".", "~", os.sep)) or name.count("/") > 1


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
