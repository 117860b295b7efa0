"""What a conversation in OpenAI's shape says: the question asked last, and the turns before it."""

from collections.abc import Iterable, Mapping, Sequence

from scr.errors import InvalidInput
from scr.records import Message, Turn


def read_question(messages: Sequence[Message]) -> tuple[str, tuple[Turn, ...]] | None:
    """Return the last user message's words and the turns before it.

    `None` where the last message is not the user's (a tool result, say) or has no text.

    Raises:
        InvalidInput: these are no OpenAI-shaped messages.
    """
    if isinstance(messages, str) or not all(isinstance(m, Mapping) for m in messages):
        raise InvalidInput(
            'these are no messages of OpenAI\'s shape, such as {"role": "user", "content": "…"}; '
            "`SCR.wrap(chat_model)` takes everything that a LangChain model takes"
        )
    if not messages or messages[-1].get("role") != "user":
        return None
    text = text_of(messages[-1])
    if not text.strip():
        return None
    return text, tuple(turn for message in messages[:-1] for turn in turns_of(message))


def text_of(message: Message) -> str:
    """Return the text of a message: its string content, or its text parts joined by lines."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, Iterable):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "\n".join(part for part in parts if isinstance(part, str))


def turns_of(said: Turn | Message) -> Iterable[Turn]:
    """Yield what a user or an assistant said in a message; other roles say nothing to us."""
    if isinstance(said, Turn):
        yield said
    elif not isinstance(said, Mapping):
        raise InvalidInput(f"a turn of the history is a Turn or a message, not {said!r:.80}")
    elif said.get("role") in ("user", "assistant") and (text := text_of(said)):
        yield Turn(role=said["role"], text=text)
