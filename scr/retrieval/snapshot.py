"""The index on disk: one file of arrays, replaced as a whole, read without pickle.

The file is only ever a copy: whatever is wrong with it, the store can make the index anew.
"""

import json
import logging
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scr.retrieval.columns import Arrays
from scr.retrieval.keys import VERSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = f"scr-index-4-keys-{VERSION}"

logger = logging.getLogger(__name__)


class Snapshot(NamedTuple):
    """What an index is remade from without embedding anything."""

    sequence: int
    mark: str
    """Names the last change that was followed; see `Retriever.mark`."""

    arrays: Arrays


def write_snapshot(
    path: Path, *, fingerprint: str, sequence: int, mark: str, arrays: Mapping[str, "NDArray[Any]"]
) -> None:
    """Write a snapshot beside `path` and move it there in one step."""
    header = {"format": FORMAT, "fingerprint": fingerprint, "sequence": sequence, "mark": mark}
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
        try:
            np.savez(stream, allow_pickle=False, header=text, **arrays)
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
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            header = json.loads(stored["header"].tobytes())
            if (found := header["format"]) != FORMAT:
                logger.warning("index %s has format %s, not %s: rebuilding", path, found, FORMAT)
                return None
            if header["fingerprint"] != fingerprint:
                logger.warning("index %s was made by another embedding model: rebuilding", path)
                return None
            arrays = {name: stored[name] for name in stored.files if name != "header"}
        return Snapshot(int(header["sequence"]), str(header["mark"]), arrays)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        logger.warning("index %s cannot be read (%s): rebuilding it", path, error)
        return None
