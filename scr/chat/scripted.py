"""A chat model that answers from a script: the fake for tests, examples and documentation."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr

from scr.chat.text import cut
from scr.errors import InvalidInput

Answer = str | AIMessage
Script = Sequence[Answer] | Mapping[str, Answer] | Callable[[list[BaseMessage]], Answer]


class ScriptedChatModel(BaseChatModel):
    """Answers from a script, and remembers what it was asked.

    The script is one of:

    - a sequence: its answers in order, an error when they are used up;
    - a mapping: the answer of the first key that occurs in the last message's text (so the key
      `""` answers everything else), an error if none does;
    - a function of the messages.

    An answer is a text or an `AIMessage`, which may call tools. It streams word by word, and its
    tokens are words. It is deterministic and may be shared between threads.

        >>> chat = ScriptedChatModel(answers={"capital": "Paris.", "": "I do not know."})
        >>> chat.invoke("What is the capital of France?").content
        'Paris.'
        >>> chat.calls[0][0].content
        'What is the capital of France?'
    """

    answers: Script = Field(repr=False)
    """What it answers."""

    model: str = "scripted"
    """The name it gives in its answers' metadata."""

    _calls: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _options: list[dict[str, Any]] = PrivateAttr(default_factory=list)
    _given: int = PrivateAttr(default=0)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def calls(self) -> list[list[BaseMessage]]:
        """The messages of every call, oldest first: the very objects it was given."""
        return self._calls

    @property
    def options(self) -> list[dict[str, Any]]:
        """What else every call was given, such as `tools` and `stop`."""
        return self._options

    @staticmethod
    def count_tokens(text: str) -> int:
        """Return the number of words in `text`."""
        return len(text.split())

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools, which `options` then shows; only the script decides whether one is called."""
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = self._answer(messages, stop, kwargs)
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        answer = self._answer(messages, stop, kwargs)
        for word in _words(answer.content):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        last = AIMessageChunk(
            content="",
            additional_kwargs=answer.additional_kwargs,
            response_metadata=answer.response_metadata,
            tool_call_chunks=[
                tool_call_chunk(
                    name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index
                )
                for index, call in enumerate(answer.tool_calls)
            ],
            usage_metadata=answer.usage_metadata,
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last)

    def _answer(
        self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any]
    ) -> AIMessage:
        with self._lock:
            self._calls.append(messages)
            self._options.append({**options, "stop": stop} if stop else options)
            scripted = self._scripted(messages)
        message = AIMessage(content=scripted) if isinstance(scripted, str) else scripted
        content = message.content
        if isinstance(content, str):
            content = cut(content, stop or [])
        return message.model_copy(  # the script's own message is not changed
            update={
                "content": content,
                "response_metadata": {"model_name": self.model, **message.response_metadata},
                "usage_metadata": message.usage_metadata or self._usage(messages, content),
            }
        )

    def _scripted(self, messages: list[BaseMessage]) -> Answer:
        if callable(self.answers):
            return self.answers(messages)
        last = messages[-1].text if messages else ""
        if isinstance(self.answers, Mapping):
            for key, answer in self.answers.items():
                if key in last:
                    return answer
            raise InvalidInput(f"the script has no answer to {last!r}; add one, or the key ''")
        if self._given >= len(self.answers):
            raise InvalidInput(
                f"the script's {len(self.answers)} answers are used up, and {last!r} is asked"
            )
        self._given += 1
        return self.answers[self._given - 1]

    def _usage(self, messages: list[BaseMessage], content: Any) -> UsageMetadata:
        read = sum(self.count_tokens(message.text) for message in messages)
        written = self.count_tokens(AIMessage(content=content).text)
        return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model}


def _words(content: Any) -> Iterator[Any]:
    """Yield a text word by word, each with the blanks after it; other content as it is."""
    if isinstance(content, str):
        yield from re.findall(r"\s*\S+\s*|\s+", content)
    else:
        yield content
