"""Chats with a causal language model of the transformers library, in this process."""

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field, PrivateAttr

from scr.chat.generation import Sampling, generate_tokens, positions_of
from scr.chat.loading import load_network
from scr.chat.messages import plain_text, restore, role_of, to_openai
from scr.chat.text import stream_until
from scr.composition import inject
from scr.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

_TITLES = {"system": "System", "user": "User", "assistant": "Assistant"}
_NEXT_TURN = "\nUser:"
_SEAM = 8  # tokens: a text may split into some more where it is joined to another


@dataclass
class _Reply:
    """What is known of an answer once its text has been streamed."""

    prompt_tokens: int
    tokens: int = 0
    finish_reason: str = "stop"


class LocalChatModel(BaseChatModel):
    """A transformers causal language model with its chat template.

    Answers are greedy unless `temperature` is set; a checkpoint's own sampling settings are not
    used. Messages are text only, and special tokens written out in them are taken apart, so that
    no message can end its turn or open another. Threads may share a model: they take turns token
    by token.

        chat = LocalChatModel.load("path/to/model", max_tokens=100)
    """

    model: str
    """The name by which it was loaded."""

    network: Any = Field(exclude=True, repr=False)
    """A `transformers.PreTrainedModel` with a language-model head, in evaluation mode."""

    tokenizer: Any = Field(exclude=True, repr=False)
    """Its `transformers.PreTrainedTokenizerBase`."""

    temperature: float = Field(default=0.0, ge=0)
    """Divides the logits; 0 always takes the most probable token."""

    max_tokens: int = Field(default=256, ge=1)
    """Most tokens of an answer."""

    stop: list[str] | None = None
    """Strings at which an answer ends; they are not part of it."""

    seed: int | None = None
    """Makes sampling repeatable; `None` draws a new seed for each answer."""

    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _warned: set[str] = PrivateAttr(default_factory=set)

    @classmethod
    def load(cls, name: str, *, device: str = "auto", dtype: str = "auto", **settings: Any) -> Self:
        """Load the model of that name; see `load_network` for the arguments.

        Args:
            name: a folder, or a model's id on the hub.
            device: as torch names it; `auto` is the first of cuda, mps and cpu that is there.
            dtype: such as `bfloat16`; `auto` is float32 on the CPU, else the checkpoint's.
            settings: `temperature`, `max_tokens`, `stop`, `seed`, and what any LangChain model
                takes.

        Raises:
            ModelUnavailable: saying how to get it.
        """
        network, tokenizer = load_network(name, device=device, dtype=dtype)
        return cls(model=name, network=network, tokenizer=tokenizer, **settings)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens in `text`, without any that open or close a text."""
        return len(self.get_token_ids(text))

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of the tokens in `text`, as the model reads them inside a message."""
        ids: list[int] = self.tokenizer.encode(self._take_apart(text), add_special_tokens=False)
        return ids

    def room(self, messages: Sequence[BaseMessage]) -> int | None:
        """Return how many tokens a text added to the system message of `messages` may have.

        What adding it takes besides is counted, and an answer keeps `max_tokens` positions, or a
        quarter of the model's if that is less.

        Returns:
            0 if there is no room. `None` if nothing limits the prompt, or the model cannot read
            these messages at all: asking it then says why.
        """
        positions = positions_of(self.network)
        if positions is None:
            return None
        shaped = [to_openai(message) for message in messages]
        try:
            taken = self._prompt(restore(messages, shaped, inject(shaped, "."))).shape[1]
        except InvalidInput:
            return None
        answer = min(self.max_tokens, positions // 4)
        return max(0, positions - taken - answer - _SEAM)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        prompt = self._prompt(messages)
        reply = _Reply(prompt.shape[1])
        text = "".join(self._text(prompt, self._sampling(stop, kwargs), reply))
        answer = AIMessage(
            content=text, response_metadata=self._metadata(reply), usage_metadata=_usage(reply)
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        prompt = self._prompt(messages)
        reply = _Reply(prompt.shape[1])
        for part in self._text(prompt, self._sampling(stop, kwargs), reply):
            yield ChatGenerationChunk(message=AIMessageChunk(content=part))
        last = AIMessageChunk(
            content="",
            response_metadata=self._metadata(reply),
            usage_metadata=_usage(reply),
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last)

    # From messages to token ids

    def _prompt(self, messages: Sequence[BaseMessage]) -> "Tensor":
        """Return the `(1, T)` token ids that ask for the next answer."""
        turns = [
            {"role": _known(role_of(message)), "content": self._take_apart(plain_text(message))}
            for message in messages
        ]
        if self.tokenizer.chat_template is None:
            self._warn(f"{self.model} has no chat template; turns are written as plain lines")
            encoded = self.tokenizer(_plain(turns), return_tensors="pt")
        else:
            encoded = self._templated(turns)
        ids: Tensor = encoded["input_ids"]
        return ids.to(self.network.device)

    def _templated(self, turns: list[dict[str, str]]) -> Any:
        from jinja2 import TemplateError

        try:
            return self._apply_template(turns)
        except TemplateError as error:
            if not turns or turns[0]["role"] != "system":
                raise self._refused(error) from error
        self._warn(
            f"the chat template of {self.model} takes no system message; its words are put "
            "before the user's first"
        )
        try:
            return self._apply_template(_folded(turns))
        except TemplateError as error:
            raise self._refused(error) from error

    def _apply_template(self, turns: list[dict[str, str]]) -> Any:
        return self.tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )

    def _refused(self, error: Exception) -> InvalidInput:
        return InvalidInput(f"the chat template of {self.model} refuses these messages: {error}")

    def _take_apart(self, text: str) -> str:
        """Put a blank into every special token that is written out in a message."""
        return self._special.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    @cached_property
    def _special(self) -> re.Pattern[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        names = {*self.tokenizer.all_special_tokens, *(t.content for t in added if t.special)}
        written = [re.escape(name) for name in sorted(names) if len(name) > 1]
        return re.compile("|".join(written) or r"(?!)")  # `(?!)` matches nowhere

    # From token ids to text

    def _text(self, prompt: "Tensor", sampling: Sampling, reply: _Reply) -> Iterator[str]:
        """Yield the answer's text in parts; `reply` is complete when they are used up."""
        yield from stream_until(self._decoded(prompt, sampling, reply), sampling.stop)

    def _decoded(self, prompt: "Tensor", sampling: Sampling, reply: _Reply) -> Iterator[str]:
        ids: list[int] = []
        shown = ""
        ends = _end_tokens(self.network, self.tokenizer)
        for token in generate_tokens(self.network, prompt, sampling, self._lock):
            if token in ends:
                break
            ids.append(token)
            reply.tokens = len(ids)
            text = self._decode(ids)
            # A token may end inside a character, which then decodes to a replacement sign.
            if text.startswith(shown) and not text.endswith("\ufffd"):
                yield text[len(shown) :]
                shown = text
        else:
            reply.finish_reason = "length"
        yield self._decode(ids)[len(shown) :]

    def _decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    # Settings and metadata

    def _sampling(self, stop: list[str] | None, options: dict[str, Any]) -> Sampling:
        known = {"temperature", "max_tokens", "seed"}
        if unknown := sorted(set(options) - known):
            raise InvalidInput(
                f"a local model has no option {unknown[0]!r}; it takes {', '.join(sorted(known))} "
                "and stop"
            )
        ends = [*(stop if stop is not None else self.stop or [])]
        if self.tokenizer.chat_template is None:
            ends.append(_NEXT_TURN)
        return Sampling(
            temperature=options.get("temperature", self.temperature),
            max_tokens=options.get("max_tokens", self.max_tokens),
            seed=options.get("seed", self.seed),
            stop=tuple(ends),
        )

    def _metadata(self, reply: _Reply) -> dict[str, Any]:
        return {"model_name": self.model, "finish_reason": reply.finish_reason}

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            log.warning(message)

    @property
    def _llm_type(self) -> str:
        return "transformers"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": self.stop,
            "seed": self.seed,
        }


def _known(role: str) -> str:
    """Return the name that chat templates have for a role."""
    return "system" if role == "developer" else role


def _folded(turns: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the turns with the system's words put before the first user's."""
    system, *rest = turns
    for place, turn in enumerate(rest):
        if turn["role"] == "user":
            joined = {**turn, "content": f"{system['content']}\n\n{turn['content']}"}
            return [*rest[:place], joined, *rest[place + 1 :]]
    return [{**system, "role": "user"}, *rest]


def _plain(turns: Sequence[dict[str, str]]) -> str:
    """Return turns as lines such as `User: …`, for a tokenizer that knows no chat."""
    lines = [f"{_TITLES.get(turn['role'], turn['role'])}: {turn['content']}" for turn in turns]
    return "\n".join([*lines, "Assistant:"])


def _end_tokens(network: Any, tokenizer: Any) -> set[int]:
    """Return the ids that end an answer: the generation settings', and the tokenizer's."""
    ends = network.generation_config.eos_token_id if network.generation_config else None
    ids = ends if isinstance(ends, list) else [ends]
    return {end for end in (*ids, tokenizer.eos_token_id) if end is not None}


def _usage(reply: _Reply) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=reply.prompt_tokens,
        output_tokens=reply.tokens,
        total_tokens=reply.prompt_tokens + reply.tokens,
    )
