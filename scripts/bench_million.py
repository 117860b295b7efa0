"""A store of a million facts: speed, recall, memory, opening, and whether decisions stay right.

    python scripts/bench_million.py FOLDER [--facts 1000000] [--queries 1000] [--out PATH]

The store holds the facts of the selectivity set under SCR_DATA and LabWorld's, made under seed 0.
Its index is made once, in FOLDER, by a stand-in for the embedding model: the set's own texts are
embedded by the model, LabWorld's by a linear map of their mean token embedding, fitted to the model
on some of them. Queries are always embedded by the model. A second process opens the store and
measures; one thread.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from scr.engine import SCR
from scr.evaluation.selectivity import read_cases, read_facts, score
from scr.facts import Fact, make_fact
from scr.lab.world import generate_world, pack_lines
from scr.records import Embedder, Query
from scr.retrieval import Retriever, load_embedder
from scr.retrieval.embedders import offline_folder
from scr.settings import load_settings
from scr.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

FITTED: Final = 6_000  # texts that the stand-in is fitted to
RIDGE: Final = 1.0
LARGEST: Final = 1_000_000  # facts of a LabWorld; as a pack they are a little fewer
PACK: Final = 20_000  # facts of a transaction
CHECKED: Final = 300  # queries whose nearest facts are searched exhaustively too
NEAREST: Final = 16


class StandIn:
    """The embedding model for the texts of some facts, and a linear map of tokens for the rest.

    It bears the model's fingerprint, so that an index which it made is taken for the model's.
    """

    def __init__(self, embedder: Embedder, real: set[str], sample: Sequence[str]) -> None:
        self._embedder = embedder
        self._real = real
        self.fingerprint = embedder.fingerprint
        self.languages = embedder.languages
        self._tokenizer = AutoTokenizer.from_pretrained(offline_folder())
        model = AutoModel.from_pretrained(offline_folder())
        self._tokens = model.get_input_embeddings().weight.detach().numpy()
        inputs, targets = self._means(sample), embedder(sample)
        square = inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1])
        self._map = np.linalg.solve(square, inputs.T @ targets)
        made = self._mapped(sample)
        self.agreement = float((made * targets).sum(axis=1).mean())
        """Mean cosine of the map's vectors and the model's."""

    def __call__(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return `(n, d)` unit rows."""
        real = [at for at, text in enumerate(texts) if text in self._real]
        vectors = self._mapped(texts)
        if real:
            vectors[real] = self._embedder([texts[at] for at in real])
        return vectors

    def _mapped(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        vectors = (self._means(texts) @ self._map).astype(np.float32)
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _means(self, texts: Sequence[str]) -> "NDArray[np.float64]":
        read = self._tokenizer(list(texts), add_special_tokens=False, truncation=True)
        rows = [self._tokens[ids or [0]].mean(axis=0) for ids in read["input_ids"]]
        return np.column_stack([np.array(rows, dtype=np.float64), np.ones(len(rows))])


def main() -> None:
    """Make what is missing, measure in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--step", choices=("make", "measure"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.step == "make":
        make(arguments.folder, arguments.facts)
    elif arguments.step == "measure":
        json.dump(measure(arguments.folder, arguments.queries), sys.stdout)
    else:
        figures: dict[str, Any] = {}
        for step in ("make", "measure"):
            command = [sys.executable, __file__, *sys.argv[1:], "--step", step]
            env = {**os.environ, "OMP_NUM_THREADS": "1"}
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=env).stdout
            figures |= json.loads(told or "{}")
        text = json.dumps(figures, indent=1) + "\n"
        if arguments.out:
            arguments.out.write_text(text, encoding="utf-8")
        sys.stdout.write(text)


def make(folder: Path, count: int) -> None:
    """Make the store and its index, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "facts.db"
    if path.exists():
        return
    own = read_facts(_set() / "facts.jsonl")
    start = time.perf_counter()
    draft = folder / "draft.db"
    with Store.open(draft, create=True) as store:
        for fact in own:
            store.add(fact, by="bench")
        lines = _padding(count - len(own))
        while pack := list(islice(lines, PACK)):
            store.import_pack(pack, name="LabWorld", by="bench")
            print(f"{store.sequence:>9,} facts  {time.perf_counter() - start:.0f} s",
                  file=sys.stderr, flush=True)  # fmt: skip
    stored = time.perf_counter() - start
    with Store.open(draft) as store:
        embedder = load_embedder("offline")
        real = {text for fact in own for text in _texts(fact)}
        lines = list(_padding(30 * FITTED))
        drawn = [make_fact(**json.loads(line)) for line in random.Random(0).sample(lines, FITTED)]
        standing = StandIn(embedder, real, [t for fact in drawn for t in _texts(fact)][:FITTED])
        retriever = Retriever(standing, snapshot=folder / "draft.db.index")
        start = time.perf_counter()
        retriever.follow(store.changes(0), store.sequence)
        retriever.save()
        made = {
            "facts": store.sequence,
            "storing, s": round(stored),
            "indexing, s": round(time.perf_counter() - start),
            "stand-in, mean cosine with the model": round(standing.agreement, 3),
        }
    (folder / "draft.db.index").replace(folder / "facts.db.index")
    draft.replace(path)
    json.dump(made, sys.stdout)


def measure(folder: Path, queries: int) -> dict[str, Any]:
    """Return the figures of the store in `folder`."""
    embedder = load_embedder("offline")
    bare = SentenceTransformer(str(offline_folder()), device="cpu")
    cases = read_cases(_set() / "queries.jsonl")
    random.Random(0).shuffle(cases)
    cases = cases[:queries]
    path = folder / "facts.db"
    settings = load_settings(store=path, trace_retention_days=0.0)
    embedder(["warm"])
    start = time.perf_counter()
    retriever = Retriever(embedder, snapshot=path.with_name("facts.db.index"))
    retriever(Query(text="Is everything loaded?"))
    opening = time.perf_counter() - start
    recall = _recall(retriever, [case.query for case in cases[:CHECKED]])
    del retriever
    with SCR(Store.open(path), settings, embedder=embedder) as knowledge:
        knowledge.decide("Is everything loaded?")
        decisions, decided, encoded = [], [], []
        for case in cases:
            start = time.perf_counter()
            bare.encode(case.query.text, normalize_embeddings=True, show_progress_bar=False)
            middle = time.perf_counter()
            decisions.append(knowledge.decide(case.query.text, history=case.query.history))
            encoded.append(middle - start)
            decided.append(time.perf_counter() - middle)
        scores = score(cases, decisions)
        start = time.perf_counter()
        fact = make_fact(subject="Qorvex Ltd", relation="treasurer", target="Ann Onymous")
        knowledge.store.add(fact, by="bench")
        found = knowledge.decide("Who is the treasurer of Qorvex Ltd?")
        adding = time.perf_counter() - start
        knowledge.store.retire(fact.id, by="bench", why="measured")
    return {
        "opening from the snapshot, s": round(opening, 1),
        "decide, median ms": round(median(decided) * 1e3, 1),
        "encode, median ms": round(median(encoded) * 1e3, 1),
        "decide to encode": round(median(decided) / median(encoded), 2),
        "nearest 16 found, of those of an exhaustive search": round(recall, 4),
        "a fact added is found": [m.fact.id for m in found.matches] == [fact.id],
        "adding it and deciding on it, s": round(adding, 2),
        "peak memory, GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "queries": len(cases),
        "balanced": round(scores.balanced, 4),
        "hit": round(scores.hit, 4),
        "abstain": round(scores.abstain, 4),
        "calibration error": round(scores.ece, 4),
    }


def _recall(retriever: Retriever, queries: Sequence[Query]) -> float:
    """Return the share of the truly nearest facts that the index finds."""
    index = retriever._index
    vectors = retriever.embedder([query.text for query in queries])
    rows, versions = index._row_vectors.all[:, 0], index._row_version.all
    view = index.visible(queries[0])
    best = np.full((len(queries), 4 * NEAREST), -1.0, dtype=np.float32)
    where = np.zeros(best.shape, dtype=np.int64)
    for start in range(0, len(rows), 50_000):
        scores = vectors @ index.codes[rows[start : start + 50_000]].T
        scores[:, ~view.mask[versions[start : start + 50_000]]] = -1.0
        scores = np.concatenate([best, scores], axis=1)
        at = np.argpartition(-scores, 4 * NEAREST, axis=1)[:, : 4 * NEAREST]
        numbers = np.arange(start, start + scores.shape[1] - best.shape[1])
        places = np.concatenate([where, np.tile(numbers, (len(queries), 1))], axis=1)
        best = np.take_along_axis(scores, at, axis=1)
        where = np.take_along_axis(places, at, axis=1)
    met = total = 0
    for vector, line, places in zip(vectors, best, where, strict=True):
        ordered = versions[places[np.argsort(-line, kind="stable")]].tolist()
        exact = list(dict.fromkeys(ordered))[:NEAREST]
        found = set(index.search(vector[None], NEAREST, view))
        met += len(found & set(exact))
        total += len(exact)
    return met / total


def _padding(count: int) -> Iterator[str]:
    """Yield that many of LabWorld's facts as lines of a pack."""
    lines = pack_lines(generate_world(0, min(count + count // 10, LARGEST)))
    yield from islice(lines, count)


def _texts(fact: Fact) -> Iterator[str]:
    from scr.retrieval.keys import keys_of

    for key in keys_of(fact):
        yield from key[:2]


def _set() -> Path:
    return Path(os.environ.get("SCR_DATA", "../shared")) / "selectivity"


if __name__ == "__main__":
    main()
