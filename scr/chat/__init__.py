"""Chat models: the wrapper, local models, models behind a server, and a scripted fake."""

from scr.chat.augmentation import METADATA_KEY, Augmented, Knowledge, ScrMetadata
from scr.chat.local import LocalChatModel
from scr.chat.models import load_chat_model
from scr.chat.plain import Answer, Answerer
from scr.chat.remote import OpenAICompatibleChatModel
from scr.chat.scripted import ScriptedChatModel
from scr.chat.wrapper import ScrChatModel

__all__ = [
    "METADATA_KEY",
    "Answer",
    "Answerer",
    "Augmented",
    "Knowledge",
    "LocalChatModel",
    "OpenAICompatibleChatModel",
    "ScrChatModel",
    "ScrMetadata",
    "ScriptedChatModel",
    "load_chat_model",
]
