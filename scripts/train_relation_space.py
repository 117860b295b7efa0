"""Fit the relation space anew and write `scr/retrieval/relation_space.npz`.

    python scripts/train_relation_space.py [--seed 0]

It learns from the phrasings of `eval/selectivity/relations.yaml` and the training phrasings of
LabWorld alone: two phrasings of one relation are to lie together, those of different ones apart.
"""

import argparse
import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from phrasings import NUMBERS, VALUES, load_relations
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from scr.lab.relations import RELATIONS
from scr.retrieval import load_embedder
from scr.retrieval.names import MASK
from scr.retrieval.relations import PATH, RelationSpace

RANK = 64
STEPS = 800
BATCH = 64  # relations in a step, two phrasings of each
TEMPERATURE = 0.07
DECAY = 1.0  # pulls the map back to doing nothing, for relations that were never seen


def phrasings(rng: random.Random) -> list[list[str]]:
    """Return the masked phrasings of each relation: questions, default keys, statements."""
    grouped = []
    for relation in load_relations():
        told = [_fill(text, _value(relation.target, rng)) for text in relation.tell for _ in "12"]
        default = _default(relation.name, _value(relation.target, rng))
        grouped.append([*(_fill(text, "") for text in relation.ask), *default, *told])
    for lab in (relation for relation in RELATIONS if relation.split == "train"):
        asked = [text.replace("{subject}", MASK) for text in lab.texts("question", "train")]
        grouped.append([*asked, *_default(lab.name, "one")])
    return [[*texts, *(text.lower() for text in texts)] for texts in grouped]


def _default(name: str, target: str) -> tuple[str, str]:
    return f"What is the {name} of {MASK}?", f"The {name} of {MASK} is {target}."


def _fill(template: str, target: str) -> str:
    text = re.sub(r"\bS\b", MASK, template)
    return re.sub(r"\bT\b", lambda _match: target, text)


def _value(kind: str, rng: random.Random) -> str:
    if kind in NUMBERS:
        return NUMBERS[kind](rng)
    names = ("Dana Lee", "Corsal Group", "Norburg", "Veltorland", "Elena Novak", "Halquin")
    return rng.choice(VALUES.get(kind, names))


def train(vectors: Sequence[NDArray[np.float32]], seed: int) -> NDArray[np.float32]:
    """Return the `(d, d)` map whose rows' images are compared.

    Source:
        van den Oord et al. 2018, "Representation Learning with Contrastive Predictive Coding",
        arXiv:1807.03748 (the InfoNCE loss).
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    groups = [torch.from_numpy(group) for group in vectors]
    width = groups[0].shape[1]
    down = torch.nn.Parameter(torch.randn(width, RANK) / width**0.5)
    up = torch.nn.Parameter(torch.zeros(RANK, width))
    optimizer = torch.optim.AdamW([down, up], lr=2e-3, weight_decay=DECAY)
    for _ in range(STEPS):
        chosen = rng.sample(groups, BATCH)
        pairs = [rng.sample(range(len(group)), 2) for group in chosen]
        one, two = (
            _mapped(
                torch.stack([g[pair[side]] for g, pair in zip(chosen, pairs, strict=True)]),
                down,
                up,
            )
            for side in (0, 1)
        )  # (B, d) each
        logits = one @ two.T / TEMPERATURE
        labels = torch.arange(BATCH)
        loss = cross_entropy(logits, labels) + cross_entropy(logits.T, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (torch.eye(width) + down @ up).detach().numpy()


def _mapped(rows: Tensor, down: Tensor, up: Tensor) -> Tensor:
    return normalize(rows + rows @ down @ up, dim=1)


def main() -> None:
    """Embed the phrasings, fit the map and write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=PATH)
    arguments = parser.parse_args()
    embedder = load_embedder("offline")
    grouped = phrasings(random.Random(arguments.seed))
    vectors = embedder([text for texts in grouped for text in texts])
    ends = np.cumsum([len(texts) for texts in grouped])[:-1]
    projection = train(np.split(vectors, ends), arguments.seed)
    RelationSpace(projection, embedder.fingerprint).save(arguments.out)


if __name__ == "__main__":
    main()
