"""LangChain messages as the engine reads them, and back.

Only what a decision needs is translated: roles and content. What goes to the model is always the
caller's own message objects, apart from the system message.
"""

from collections.abc import Iterator, Sequence

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.prompt_values import PromptValue

from scr.errors import InvalidInput
from scr.records import Message

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}


def as_messages(given: LanguageModelInput) -> list[BaseMessage]:
    """Return the messages that a chat model would read in `given`.

    Args:
        given: a text, a prompt value, or a sequence of messages in any form LangChain takes.

    Raises:
        InvalidInput: `given` is none of these.
    """
    if isinstance(given, PromptValue):
        return given.to_messages()
    if isinstance(given, str):
        return convert_to_messages([("human", given)])
    if isinstance(given, Sequence):
        return convert_to_messages(given)
    raise InvalidInput(
        f"a chat model cannot read a {type(given).__name__}; give a text, a prompt value or a "
        "list of messages"
    )


def to_openai(message: BaseMessage) -> Message:
    """Return the role and content of a message as OpenAI shapes them; the content is the same."""
    return {"role": role_of(message), "content": message.content}


def role_of(message: BaseMessage) -> str:
    """Return the role of a message as OpenAI names it."""
    if isinstance(message, ChatMessage):
        return message.role
    if isinstance(message, SystemMessage):
        return str(message.additional_kwargs.get("__openai_role__", "system"))
    return _ROLES.get(message.type, message.type)


def awaits_tool(messages: Sequence[BaseMessage]) -> bool:
    """Whether the model's last words called a tool whose result is still missing."""
    answered: set[str | None] = set()
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            return any(call["id"] not in answered for call in message.tool_calls)
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
    return False


def restore(
    originals: Sequence[BaseMessage], shaped: Sequence[Message], composed: Sequence[Message]
) -> list[BaseMessage]:
    """Translate composed messages back, reusing every original that was not changed.

    Args:
        originals: the caller's messages.
        shaped: the same in OpenAI's shape, one for each.
        composed: `shaped` with one system message replaced in its place or put in front.
    """
    added = len(composed) - len(shaped)
    return list(_restored(originals, shaped, composed, added))


def _restored(
    originals: Sequence[BaseMessage],
    shaped: Sequence[Message],
    composed: Sequence[Message],
    added: int,
) -> Iterator[BaseMessage]:
    for place, message in enumerate(composed):
        if place < added:
            yield SystemMessage(content=message["content"])
        elif message is shaped[place - added]:
            yield originals[place - added]
        else:
            yield originals[place - added].model_copy(update={"content": message["content"]})


def plain_text(message: BaseMessage) -> str:
    """Return the text of a message for a model that reads nothing else.

    Raises:
        InvalidInput: the message holds an image, a file or another part that is not text.
    """
    if isinstance(message.content, str):
        return message.content
    for part in message.content:
        if isinstance(part, dict) and part.get("type") != "text":
            raise InvalidInput(
                f"this model reads text only, and a message has a part of type "
                f"{part.get('type')!r}; leave it out, or use a model that reads it"
            )
    return "".join(
        part if isinstance(part, str) else str(part.get("text", "")) for part in message.content
    )
