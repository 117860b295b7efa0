"""What an evaluation needs of a language model: answers in batches, and probabilities."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from scr.records import Message

if TYPE_CHECKING:
    from torch import Tensor

Chat = Sequence[Message]
"""Messages that end with the user's."""

ANSWER_TOKENS = 64
"""Most tokens of a generated answer."""

_BATCH = 48


class LanguageModel(Protocol):
    """Answers chats, completes texts and says how probable a completion is."""

    def answer(self, chats: Sequence[Chat]) -> list[str]:
        """Return one greedy reply for each chat, up to its natural end."""
        ...

    def complete(self, texts: Sequence[str]) -> list[str]:
        """Return one greedy completion for each bare text, up to its natural end."""
        ...

    def nll(self, prompts: Sequence[Chat | str], targets: Sequence[str]) -> list[float]:
        """Return the mean negative log-probability per token, in nats, of each target.

        Teacher-forced: each token is predicted with the target's earlier ones given.
        """
        ...

    def token_accuracy(self, prompts: Sequence[Chat | str], targets: Sequence[str]) -> list[float]:
        """Return the share of each target's tokens that the model finds the most probable ones.

        Teacher-forced, as for `nll`: each is predicted with the target's earlier ones given.
        """
        ...


class TransformersModel:
    """A `LanguageModel` in this process.

    Decoding is greedy. A reply ends at an end token, or at the first line break after its first
    word, at the latest after `max_tokens`; a full stop does not end it.

    Args:
        network: a causal language model of the transformers library, in evaluation mode.
        tokenizer: its tokenizer, with a chat template if it is to answer chats.
        max_tokens: most tokens of a reply.
    """

    def __init__(self, network: Any, tokenizer: Any, *, max_tokens: int = ANSWER_TOKENS) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self._max_tokens = max_tokens

    def answer(self, chats: Sequence[Chat]) -> list[str]:
        """Return one greedy reply for each chat; see `LanguageModel`."""
        return self._generate([self._chat_ids(chat) for chat in chats])

    def complete(self, texts: Sequence[str]) -> list[str]:
        """Return one greedy completion for each text; see `LanguageModel`."""
        return self._generate([self._text_ids(text) for text in texts])

    def nll(self, prompts: Sequence[Chat | str], targets: Sequence[str]) -> list[float]:
        """Return each target's mean negative log-probability per token; see `LanguageModel`."""
        from torch.nn.functional import cross_entropy

        return self._forced(prompts, targets, lambda *given: float(cross_entropy(*given)))

    def token_accuracy(self, prompts: Sequence[Chat | str], targets: Sequence[str]) -> list[float]:
        """Return the share of each target's tokens that are most probable; see `LanguageModel`."""

        def share(predicted: "Tensor", wanted: "Tensor") -> float:
            return float((predicted.argmax(-1) == wanted).float().mean())

        return self._forced(prompts, targets, share)

    def _forced(
        self,
        prompts: Sequence[Chat | str],
        targets: Sequence[str],
        measure: Callable[["Tensor", "Tensor"], float],
    ) -> list[float]:
        """Return a measure of each target's `(T, vocabulary)` logits and `(T,)` ids."""
        import torch

        rows = [self._with_target(p, t) for p, t in zip(prompts, targets, strict=True)]
        values = [0.0] * len(rows)
        for places in _batches([len(ids) for ids, _ in rows]):
            ids, mask = self._pad([rows[place][0] for place in places], side="right")
            with torch.inference_mode():
                logits = self.network(input_ids=ids, attention_mask=mask).logits
            for row, place in enumerate(places):
                whole, start = rows[place]
                predicted = logits[row, start - 1 : len(whole) - 1].float()
                wanted = ids[row, start : len(whole)]
                values[place] = measure(predicted, wanted)
        return values

    def _with_target(self, prompt: Chat | str, target: str) -> tuple[list[int], int]:
        """Return the ids of prompt and target, and where the target starts.

        A text and its target are read as one, a space between them, so that merges across the
        border are the model's own; the ids of a chat's prompt are kept as they are.
        """
        if isinstance(prompt, str):
            space = "" if target.startswith(" ") else " "
            before, whole = self._text_ids(prompt), self._text_ids(f"{prompt}{space}{target}")
        else:
            before = self._chat_ids(prompt)
            whole = before + self.tokenizer.encode(target, add_special_tokens=False)
        start = 0
        while start < min(len(before), len(whole) - 1) and before[start] == whole[start]:
            start += 1
        return whole, max(1, start)

    def _chat_ids(self, chat: Chat) -> list[int]:
        ids: list[int] = self.tokenizer.apply_chat_template(
            list(chat), add_generation_prompt=True, return_dict=True
        )["input_ids"]
        return ids

    def _text_ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text)["input_ids"]
        return ids

    def _generate(self, prompts: Sequence[list[int]]) -> list[str]:
        import torch

        replies = [""] * len(prompts)
        for places in _batches([len(prompt) for prompt in prompts]):
            ids, mask = self._pad([prompts[place] for place in places], side="left")
            with torch.inference_mode():
                output = self.network.generate(
                    input_ids=ids, attention_mask=mask, generation_config=self._greedy()
                )
            fresh = output[:, ids.shape[1] :]
            for place, reply in zip(
                places, self.tokenizer.batch_decode(fresh, skip_special_tokens=True), strict=True
            ):
                replies[place] = reply.strip().split("\n", 1)[0].strip()
        return replies

    def _greedy(self) -> Any:
        """Return settings without the checkpoint's own, such as its repetition penalty."""
        from transformers import GenerationConfig

        own = getattr(self.network.generation_config, "eos_token_id", None)
        return GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            repetition_penalty=1.0,  # what is not given is taken from the checkpoint's settings
            no_repeat_ngram_size=0,
            max_new_tokens=self._max_tokens,
            eos_token_id=own or self.tokenizer.eos_token_id,
            pad_token_id=self._pad_id,
        )

    @property
    def _pad_id(self) -> int:
        pad: int | None = self.tokenizer.pad_token_id
        return pad if pad is not None else int(self.tokenizer.eos_token_id or 0)

    def _pad(self, rows: Sequence[list[int]], *, side: str) -> tuple["Tensor", "Tensor"]:
        """Return `(B, T)` ids and attention mask; padding is known by the mask alone."""
        import torch

        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self._pad_id)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for number, row in enumerate(rows):
            span = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
            ids[number, span] = torch.tensor(row, dtype=torch.long)
            mask[number, span] = 1
        device = self.network.device
        return ids.to(device), mask.to(device)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the places of rows of about one length."""
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    for start in range(0, len(order), _BATCH):
        yield order[start : start + _BATCH]
