"""What holds for every test."""

import os

# Before torch is imported: pytest's workers share the cores, and a model here is tiny.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

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
