"""The relation space: where masked texts that ask for one relation lie together.

A general embedding puts "Where is it based?" as near to "Who runs it?" as to "Where are its
headquarters?". A linear map, learned from phrasings of many relations, tells them apart better.
It belongs to one embedding model; with others it does nothing.
"""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATH = Path(str(files("scr.retrieval").joinpath("relation_space.npz")))


class RelationSpace:
    """A linear map of unit vectors, learned for the embedder with this fingerprint."""

    def __init__(self, projection: "NDArray[np.float32]", fingerprint: str) -> None:
        """Take the `(d, d)` map."""
        self.projection = projection
        self.fingerprint = fingerprint

    @classmethod
    def load(cls, fingerprint: str) -> "RelationSpace | None":
        """Return the shipped space if it was learned for that embedder."""
        with np.load(PATH, allow_pickle=False) as arrays:
            if str(arrays["fingerprint"]) != fingerprint:
                return None
            return cls(arrays["projection"].astype(np.float32), fingerprint)

    def save(self, path: Path) -> None:
        """Write the space in half precision."""
        np.savez_compressed(
            path,
            projection=self.projection.astype(np.float16),
            fingerprint=np.array(self.fingerprint),
        )

    def __call__(self, vectors: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Return the images of `(n, d)` rows, as unit rows."""
        images = vectors @ self.projection
        norms = np.linalg.norm(images, axis=1, keepdims=True)
        return np.asarray(images / np.maximum(norms, 1e-12), dtype=np.float32)
