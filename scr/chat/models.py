"""Chat models by name."""

from typing import Any

from langchain_core.language_models import BaseChatModel

from scr.chat.local import LocalChatModel
from scr.chat.remote import OpenAICompatibleChatModel

LAB = "lab"


def load_chat_model(name: str, **settings: Any) -> BaseChatModel:
    """Return the chat model of that name.

    Args:
        name: `lab` (the small model that comes with SCR), the base URL of a server that speaks
            OpenAI's chat completions (`https://host/v1`, `#MODEL` after it to name one), the
            folder of a transformers model, or a model's id on the hub.
        settings: fields of the model, such as `temperature` and `max_tokens`.

    Raises:
        ModelUnavailable: it cannot be loaded; the message says how to get it.
        UpstreamError: the server does not answer.
    """
    if name.startswith(("http://", "https://")):
        return OpenAICompatibleChatModel.connect(name, **settings)
    if name == LAB:
        from scr.lab.model import lab_model_path

        return LocalChatModel.load(str(lab_model_path()), **settings).model_copy(
            update={"model": LAB}
        )
    return LocalChatModel.load(name, **settings)
