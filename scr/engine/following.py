"""A retriever that follows a store, and its snapshot beside the store's file."""

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scr.facts import Revision
from scr.records import Embedder
from scr.store import Store

if TYPE_CHECKING:
    from scr.retrieval import Retriever

log = logging.getLogger(__name__)

SNAPSHOT_AFTER: Final = 1_000  # revisions: catching up on so many is worth a snapshot at once,
SNAPSHOT_SHARE: Final = 0.02  # and on this share of all of them, as each snapshot holds them all
FOLLOWED: Final = 64  # revisions that are followed at once, where decisions go on in between


class FollowingRetriever:
    """Reads the store's changes before it is read itself. Threads take turns."""

    def __init__(self, store: Store, embedder: Embedder | None, name: str) -> None:
        """Follow `store`; without an embedder the model `name` is loaded when first needed."""
        self.embedder = embedder
        self._store = store
        self._name = name
        self._retriever: Retriever | None = None
        self._unsaved = 0
        self._lock = threading.RLock()

    @property
    def sequence(self) -> int:
        """Sequence number of the store up to which it has followed; 0 before the first."""
        return self._retriever.sequence if self._retriever is not None else 0

    @contextmanager
    def current(self, most: int | None = None) -> Iterator["Retriever"]:
        """Give the retriever, for the time of the block, after it has followed every change.

        Where there are more than `most` changes it is given as it is.
        """
        with self._lock:
            retriever = self._opened()
            sequence = self._store.sequence
            behind = sequence - retriever.sequence
            if behind and (most is None or behind <= most):
                self._take(retriever, self._store.changes(retriever.sequence), sequence)
                self._followed(retriever, behind)
            yield retriever

    def follow(self) -> None:
        """Follow every change, a few at a time, so that others can read in between."""
        while True:
            with self._lock:
                retriever = self._opened()
                before = retriever.sequence
                if before >= self._store.sequence:
                    return
                self._take(retriever, islice(self._store.changes(before), FOLLOWED), before)
                if retriever.sequence == before:
                    return
                self._followed(retriever, retriever.sequence - before)

    def forget(self) -> None:
        """Drop the index and its snapshot: words that were erased must not outlive it."""
        with self._lock:
            self._snapshot.unlink(missing_ok=True)
            if self._retriever is not None:
                self._retriever.clear()

    def _take(self, retriever: "Retriever", changes: Iterable[Revision], sequence: int) -> None:
        """Follow changes; where one of them erases a fact, make the index anew."""
        if retriever.sequence:  # one that begins now never held what was erased
            changes = [*changes]
            if any(change.action == "erase" for change in changes):
                log.warning("a fact was erased from %s: making the index anew", self._store.path)
                self.forget()
                changes, sequence = self._store.changes(0), self._store.sequence
        retriever.follow(changes, sequence)

    @property
    def _snapshot(self) -> Path:
        return self._store.path.with_name(self._store.path.name + ".index")

    def save(self) -> None:
        """Write the snapshot if anything was followed since the last one."""
        with self._lock:
            if self._retriever is not None and self._unsaved:
                self._save(self._retriever)

    def _opened(self) -> "Retriever":
        if self._retriever is None:
            from scr.retrieval import Retriever, load_embedder

            if self.embedder is None:
                self.embedder = load_embedder(self._name)
            self._retriever = Retriever(self.embedder, snapshot=self._snapshot)
            self._require_same_history(self._retriever)
        return self._retriever

    def _followed(self, retriever: "Retriever", revisions: int) -> None:
        self._unsaved += revisions
        if self._unsaved >= max(SNAPSHOT_AFTER, SNAPSHOT_SHARE * retriever.sequence):
            self._save(retriever)

    def _save(self, retriever: "Retriever") -> None:
        """Write the snapshot; it is only a copy, so no request fails for want of it."""
        self._unsaved = 0
        try:
            retriever.save()
        except OSError:
            log.warning("the index beside %s could not be saved", self._store.path, exc_info=True)

    def _require_same_history(self, retriever: "Retriever") -> None:
        """Clear an index that followed another store than the one that lies here now."""
        from scr.retrieval import mark_of

        if not retriever.sequence:
            return
        followed = next(iter(self._store.changes(retriever.sequence - 1)), None)
        if followed is None or mark_of(followed) != retriever.mark:
            log.warning(
                "the index beside %s followed another history (the store was replaced or restored "
                "from a backup): rebuilding it",
                self._store.path,
            )
            retriever.clear()


class FixedRetriever(FollowingRetriever):
    """One that follows nothing any more: for what would be, if something were otherwise."""

    def __init__(self, store: Store, retriever: "Retriever") -> None:
        """Give `retriever` to whoever reads."""
        super().__init__(store, retriever.embedder, "")
        self._retriever = retriever

    @contextmanager
    def current(self, most: int | None = None) -> Iterator["Retriever"]:
        """Give the retriever as it is."""
        yield self._opened()

    def follow(self) -> None:
        """Do nothing."""

    def save(self) -> None:
        """Do nothing."""
