"""What holds for every test."""

import os

# Before torch is imported: pytest's workers share the cores, and a model here is tiny.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest
from hypothesis import settings

# Speed is not tested here: a busy machine must not fail a property.
settings.register_profile("scr", deadline=None)
settings.load_profile("scr")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path):
    """Keep the user's `SCR_…` variables, `scr.toml` and stores out of the tests."""
    for name in [name for name in os.environ if name.startswith("SCR_") and name != "SCR_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def tiny_llama():
    """Return a function that makes a random Llama model of a tokenizer's vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(tokenizer, **config):
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
        ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
        pad = {"pad_token_id": tokenizer.pad_token_id}
        options = {"vocab_size": len(tokenizer), **sizes, **ends, **pad, **config}
        return LlamaForCausalLM(LlamaConfig(**options)).eval()

    return make


@pytest.fixture
def public_data():
    """The folder with other people's data sets: SCR_DATA, or `../shared` beside the checkout."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("SCR_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no public data sets at {folder}: name their folder with SCR_DATA")
    return folder
