"""Hyper-parameters that depend on a model's family and size, from the papers and their code.

Sources: the code of MEMIT (kmeng01/memit), AlphaEdit (jianghoucheng/AlphaEdit), LocFT
(ICT-STAR/LocFT) and EasyEdit (zjunlp/EasyEdit). For other models the same share of the depth is
taken; causal tracing (`scr.lab.tracing`) or a small sweep may find better layers.
"""

from collections.abc import Mapping
from typing import Any, Final

from scr.editing.adapter import Shape

_OLD_STYLE: Final = ("gpt2", "gptj", "gpt_neox", "gpt_neo")
"""Families whose weight decay of target vectors was tuned with the first methods."""

LAB: Final = Shape("llama", 6, 256)
"""The lab model. Its hidden states are some ten times longer than a large model's, so target
vectors take longer steps; layers are where causal tracing finds its facts. The other values were
chosen on the calibration split of LabWorld."""

_LAB_TARGETS: Final = {"rate": 10.0, "steps": 60, "weight_decay": 1e-3, "contexts": (10,)}

_ROME: Final[Mapping[Shape, Mapping[str, Any]]] = {
    LAB: {"layer": 0, "clamp": 1.4, "second_moment": True, **_LAB_TARGETS},
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
    LAB: {"layers": (0,), "clamp": 2.0, "moment_weight": 20.0, **_LAB_TARGETS},
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

_FT: Final[Mapping[Shape, Mapping[str, float]]] = {LAB: {"rate": 3e-3}}

_FT_LAYER: Final[Mapping[Shape, int]] = {
    Shape("gpt2", 48, 1600): 1,
    Shape("gptj", 28, 4096): 21,
    Shape("llama", 32, 4096): 21,
    Shape("mistral", 32, 4096): 21,
    Shape("qwen2", 28, 3584): 27,
}

_BOX: Final[Mapping[Shape, float]] = {
    LAB: 2e-2,
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


def alphaedit(shape: Shape) -> dict[str, Any]:
    """Return AlphaEdit's: of the lab model, whose keys have another scale, by energy."""
    own = {"energy": 0.05, "l2": 0.1} if shape == LAB else {}
    return {**spread(shape), **own}


def lyaplock(shape: Shape) -> dict[str, Any]:
    """Return LyapLock's: MEMIT's target vectors; of the lab model, MEMIT's moment weight too."""
    own = {"moment_weight": memit(LAB)["moment_weight"]} if shape == LAB else {}
    return {**spread(shape), **own}


def ft(shape: Shape) -> dict[str, Any]:
    """Return plain fine-tuning's: a layer two thirds up."""
    layer = _FT_LAYER.get(shape, min(round(shape.depth * 2 / 3), shape.depth - 1))
    return {"layers": (layer,), **_FT.get(shape, {})}


def ft_box(shape: Shape) -> dict[str, Any]:
    """Return FT-L's: the first layer, and the half-width of the box around its weights."""
    return {**ft(shape), "layers": (0,), "box": _BOX.get(shape, 5e-4)}


def locft(shape: Shape) -> dict[str, Any]:
    """Return those of breadth-first fine-tuning."""
    layer = _LOCFT.get(shape, min(round(shape.depth * 0.7), shape.depth - 1))
    return {**ft(shape), "layers": (layer,), "order": "breadth", "batch": 100}


def merge(shape: Shape) -> dict[str, Any]:
    """Return those of robust fine-tuning and merging: the layer of breadth-first fine-tuning."""
    values: dict[str, Any] = {"layers": locft(shape)["layers"]}
    if shape == LAB:
        values |= {"rate": 1e-3}
    return values


def lora(shape: Shape) -> dict[str, Any]:
    """Return LoRA's steps, and where attention is not usual what is adapted instead."""
    values: dict[str, Any] = {"steps": _LORA_STEPS.get(shape, 50)}
    if shape.family == "gptj":
        values["modules"] = ("fc_in", "fc_out")
    if shape == LAB:
        values["rate"] = 1e-3
    return values


_TABLES: Final[Mapping[str, Mapping[Shape, Any]]] = {
    "ft": _FT_LAYER,
    "ft-m": _FT_LAYER,
    "ft-l": _BOX,
    "locft-bf": _LOCFT,
    "lora": _LORA_STEPS,
    "rome": _ROME,
    "r-rome": _ROME,
    "memit": _MEMIT,
    "memit-seq": _MEMIT,
    "emmet": _MEMIT,
    "alphaedit": _MEMIT,
    "lyaplock": _MEMIT,
}


def origin(method: str, shape: Shape) -> str:
    """Return where the values that a method's `defaults` gives for a model come from."""
    if shape == LAB:
        return "chosen for the lab model"
    if shape in _TABLES.get(method, {}):
        return "published for this model"
    return "by family and depth: none are published for this model"
