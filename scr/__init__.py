"""SCR keeps a chat model's knowledge current without touching its weights.

    from scr import SCR

    knowledge = SCR.open("facts.db")
    knowledge.add(subject="Company X", relation="chief executive officer", target="Dana Lee")
    chat = knowledge.wrap(chat_model)

Names are loaded when they are first used, so that `import scr` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scr.chat import LocalChatModel, ScrChatModel, ScriptedChatModel, load_chat_model
    from scr.engine import SCR
    from scr.errors import ScrError
    from scr.facts import Fact, Revision, Validity
    from scr.records import Decision, Match, Query, Trace, Turn
    from scr.settings import Settings
    from scr.store import Store

__version__ = "0.1.0"

_HOMES = {
    "SCR": "scr.engine",
    "Decision": "scr.records",
    "Fact": "scr.facts",
    "LocalChatModel": "scr.chat",
    "Match": "scr.records",
    "Query": "scr.records",
    "Revision": "scr.facts",
    "ScrChatModel": "scr.chat",
    "ScrError": "scr.errors",
    "ScriptedChatModel": "scr.chat",
    "Settings": "scr.settings",
    "Store": "scr.store",
    "Trace": "scr.records",
    "Turn": "scr.records",
    "Validity": "scr.facts",
    "load_chat_model": "scr.chat",
}

__all__ = [
    "SCR",
    "Decision",
    "Fact",
    "LocalChatModel",
    "Match",
    "Query",
    "Revision",
    "ScrChatModel",
    "ScrError",
    "ScriptedChatModel",
    "Settings",
    "Store",
    "Trace",
    "Turn",
    "Validity",
    "load_chat_model",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'scr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
