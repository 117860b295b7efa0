"""The index on disk: one file, replaced as a whole, read without pickle.

The file is only ever a copy: whatever is wrong with it, the store can make the index anew.
"""

import json
import logging
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import ValidationError

from scr.facts import Fact
from scr.retrieval.index import Version
from scr.retrieval.keys import VERSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = f"scr-index-2-keys-{VERSION}"

logger = logging.getLogger(__name__)


class Snapshot(NamedTuple):
    """What an index is remade from without embedding anything."""

    sequence: int
    mark: str
    """Names the last change that was followed; see `Retriever.mark`."""
    versions: list[Version]
    texts: list[str]
    vectors: "NDArray[np.float32]"
    """`(len(texts), d)` unit rows, of half precision."""


def write_snapshot(
    path: Path,
    *,
    fingerprint: str,
    sequence: int,
    mark: str,
    versions: Sequence[Version],
    texts: Sequence[str],
    vectors: "NDArray[np.float32]",
) -> None:
    """Write a snapshot beside `path` and move it there in one step."""
    header = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "sequence": sequence,
        "mark": mark,
    }
    spans = np.array([(v.sequence, v.until) for v in versions], dtype=np.int64).reshape(-1, 2)
    facts = "\n".join(version.fact.model_dump_json() for version in versions)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
        try:
            np.savez(
                stream,
                header=_bytes(json.dumps(header)),
                facts=_bytes(facts),
                texts=_bytes(json.dumps(list(texts))),
                spans=spans,
                vectors=vectors.astype(np.float16),
            )
            stream.flush()
            os.fsync(stream.fileno())
            Path(stream.name).replace(path)
        except BaseException:
            Path(stream.name).unlink(missing_ok=True)
            raise


def read_snapshot(path: Path, *, fingerprint: str) -> Snapshot | None:
    """Return the snapshot at `path`, or `None` if there is none that this embedder made.

    A snapshot of another model or format, or one that cannot be read, is passed over with a
    warning: the index is then rebuilt from the store.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            if (found := header["format"]) != FORMAT:
                logger.warning("index %s has format %s, not %s: rebuilding", path, found, FORMAT)
                return None
            if header["fingerprint"] != fingerprint:
                logger.warning("index %s was made by another embedding model: rebuilding", path)
                return None
            facts = arrays["facts"].tobytes().decode().split("\n")
            spans = arrays["spans"].tolist()
            texts = json.loads(arrays["texts"].tobytes())
            vectors = arrays["vectors"].astype(np.float32)
        versions = [
            Version(Fact.model_validate_json(line), sequence, until)
            for line, (sequence, until) in zip(facts if spans else [], spans, strict=True)
        ]
        return Snapshot(int(header["sequence"]), str(header["mark"]), versions, texts, vectors)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        ValidationError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        logger.warning("index %s cannot be read (%s): rebuilding it", path, error)
        return None


def _bytes(text: str) -> "NDArray[np.uint8]":
    return np.frombuffer(text.encode(), dtype=np.uint8)
