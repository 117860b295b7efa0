"""The reader: a small cross-encoder that reads a question and a fact together.

Cosines compare two summaries; the reader sees which word stands beside which: who owns from who is
owned, the limit from the price, the founder from the head. Both texts have the subject masked, so
that it learns relations and never a name. Trained by `scripts/train_reader.py`, on made data only;
its weights are 8-bit integers.

Source:
    Nogueira and Cho 2019, "Passage Re-ranking with BERT", arXiv:1901.04085.
"""

import math
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scr.errors import ModelUnavailable

LONGEST = 160  # tokens of a question with a fact that are read
PATH = Path(str(files("scr.detection").joinpath("weights")))
MODEL, TOKENIZER = "reader.onnx", "tokenizer.json"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_FEW = 16  # pairs from which several threads pay


class Reader(Protocol):
    """Says how surely a fact answers a question."""

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """Return `(n,)` log-odds that the fact of each (question, fact) pair answers it."""
        ...


class OnnxReader:
    """A cross-encoder with one output, run by ONNX Runtime on the CPU.

    Each pair is read by itself: with 8-bit weights what else is in a batch would change the result
    a little, and a decision must not depend on its neighbors.
    """

    def __init__(self, folder: Path = PATH) -> None:
        """Load the model and the tokenizer in `folder`.

        Raises:
            ModelUnavailable: there are none, or they are damaged.
        """
        from onnxruntime import InferenceSession, SessionOptions
        from tokenizers import Tokenizer

        options = SessionOptions()
        options.intra_op_num_threads = 1  # pairs are read side by side, not parts of one
        try:
            self._session = InferenceSession(
                str(folder / MODEL), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # the two libraries' errors have no other base
            reason = f"{folder} holds no reader that can be loaded ({_first_line(error)})"
            advice = "install SCR anew, or set `reader = false`"
            raise ModelUnavailable("reader", f"{reason}; {advice}") from error
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.no_padding()

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """Return `(n,)` log-odds that the fact of each (question, fact) pair answers it."""
        if len(pairs) < _FEW:
            return np.array([self._read(pair) for pair in pairs], dtype=np.float64)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return np.array(list(threads.map(self._read, pairs)), dtype=np.float64)

    def _read(self, pair: tuple[str, str]) -> float:
        asked, told = (_readable(text) for text in pair)
        read = self._tokenizer.encode(asked, told)
        columns = (read.ids, read.attention_mask, read.type_ids)
        given = {
            name: np.array([column], dtype=np.int64)
            for name, column in zip(INPUTS, columns, strict=True)
        }
        (logits,) = self._session.run(None, given)
        return float(logits[0, 0])


class OverlapReader:
    """A deterministic fake for tests: the more of the question's words the fact has, the surer."""

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """Return `(n,)` log-odds; 0 where half of the words are in the fact."""
        return np.array([_overlap(*pair) for pair in pairs], dtype=np.float64)


def _overlap(asked: str, told: str) -> float:
    words = set(re.findall(r"\w+", asked.casefold()))
    shared = len(words & set(re.findall(r"\w+", told.casefold())))
    share = (shared + 0.5) / (len(words) + 1)
    return math.log(share / (1 - share))


@cache
def load_reader() -> Reader:
    """Return the reader that ships with the package; one for all detectors of a process.

    Raises:
        ModelUnavailable: its files are missing or damaged.
    """
    return OnnxReader()


def _readable(text: str) -> str:
    """Return a text in characters that a tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
