"""Composition: curated facts become part of a prompt."""

from scr.composition.composer import (
    SystemMessageComposer,
    TokenCounter,
    append,
    estimate_tokens,
    inject,
)
from scr.composition.rendering import render_facts

__all__ = [
    "SystemMessageComposer",
    "TokenCounter",
    "append",
    "estimate_tokens",
    "inject",
    "render_facts",
]
