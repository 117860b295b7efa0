"""Hyper-parameters that depend on a model's family and size, from the papers and their code.

Sources: the code of MEMIT (kmeng01/memit), AlphaEdit (jianghoucheng/AlphaEdit), LocFT
(ICT-STAR/LocFT) and EasyEdit (zjunlp/EasyEdit). For other models the same share of the depth is
taken; causal tracing (`scr.lab.tracing`) or a small sweep may find better layers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from scr.editing.adapter import Shape

_OLD_STYLE: Final = ("gpt2", "gptj", "gpt_neox", "gpt_neo")
"""Families whose weight decay of target vectors was tuned with the first methods."""

_ROME: Final[Mapping[Shape, Mapping[str, Any]]] = {
    Shape("gpt2", 24, 1024): {"layer": 8, "clamp": 3.0},
    Shape("gpt2", 36, 1280): {"layer": 12},
    Shape("gpt2", 48, 1600): {"layer": 17},
    Shape("gptj", 28, 4096): {"layer": 5},
    Shape("gpt_neox", 44, 6144): {"layer": 15},
    Shape("llama", 32, 4096): {"layer": 5},
    Shape("mistral", 32, 4096): {"layer": 5},
    Shape("qwen2", 28, 3584): {"layer": 5},
}

_MEMIT: Final[Mapping[Shape, Mapping[str, Any]]] = {
    Shape("gpt2", 48, 1600): {"layers": (13, 14, 15, 16, 17), "moment_weight": 20_000.0},
    Shape("gptj", 28, 4096): {"layers": (3, 4, 5, 6, 7, 8), "steps": 25},
    Shape("llama", 32, 4096): {"layers": (4, 5, 6, 7, 8), "steps": 25, "rate": 0.1},
    Shape("mistral", 32, 4096): {
        "layers": (4, 5, 6, 7, 8),
        "steps": 25,
        "weight_decay": 1e-3,
        "clamp": 4.0,
    },
    Shape("qwen2", 28, 3584): {
        "layers": (4, 5, 6, 7, 8),
        "steps": 25,
        "weight_decay": 1e-3,
        "clamp": 4.0,
    },
}

_FT_LAYER: Final[Mapping[Shape, int]] = {
    Shape("gpt2", 48, 1600): 1,
    Shape("gptj", 28, 4096): 21,
    Shape("llama", 32, 4096): 21,
    Shape("mistral", 32, 4096): 21,
    Shape("qwen2", 28, 3584): 27,
}

_BOX: Final[Mapping[Shape, float]] = {
    Shape("gpt2", 24, 1024): 2e-3,
    Shape("gpt2", 36, 1280): 1e-3,
    Shape("gptj", 28, 4096): 5e-5,
    Shape("mistral", 32, 4096): 5e-5,
}

_LOCFT: Final[Mapping[Shape, int]] = {
    Shape("llama", 32, 4096): 22,
    Shape("qwen2", 28, 3584): 6,
}

_LORA_STEPS: Final[Mapping[Shape, int]] = {
    Shape("gpt2", 48, 1600): 30,
    Shape("gptj", 28, 4096): 50,
    Shape("llama", 32, 4096): 70,
    Shape("qwen2", 28, 3584): 60,
}


def rome(shape: Shape) -> dict[str, Any]:
    """Return ROME's: a layer at a sixth of the depth, where nothing is published."""
    own = _ROME.get(shape, {"layer": round(shape.depth * 0.17)})
    if shape.family in _OLD_STYLE:
        return dict(own)
    return {"steps": 25, "weight_decay": 1e-3, "second_moment": False, **own}


def memit(shape: Shape) -> dict[str, Any]:
    """Return MEMIT's: layers between an eighth and a quarter of the depth."""
    first, last = round(shape.depth / 8), round(shape.depth / 4)
    return dict(_MEMIT.get(shape, {"layers": tuple(range(first, max(last, first) + 1))}))


def spread(shape: Shape) -> dict[str, Any]:
    """Return MEMIT's layers and target vectors, without the weight of its second moment."""
    return {name: value for name, value in memit(shape).items() if name != "moment_weight"}


def ft_layers(shape: Shape) -> Sequence[int]:
    """Return the layer of plain fine-tuning: two thirds up."""
    return (_FT_LAYER.get(shape, min(round(shape.depth * 2 / 3), shape.depth - 1)),)


def box(shape: Shape) -> float:
    """Return the half-width of FT-L's box around the weights."""
    return _BOX.get(shape, 5e-4)


def locft_layers(shape: Shape) -> Sequence[int]:
    """Return the layer of breadth-first fine-tuning."""
    return (_LOCFT.get(shape, min(round(shape.depth * 0.7), shape.depth - 1)),)


def lora_steps(shape: Shape) -> int:
    """Return how many steps LoRA takes."""
    return _LORA_STEPS.get(shape, 50)
