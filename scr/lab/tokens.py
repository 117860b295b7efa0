"""The lab model's tokenizer: a byte-level BPE in which every word of LabWorld is one token.

A word is the same token after a space, after an opening quote and at the start of a text: a space
is put before the first word, and a quote that opens on a word is written as one sign and a space.
Decoding undoes both. So `"Dana Lee"` in a quoted fact and `Dana Lee` in an answer are the same two
tokens, which makes copying easy to learn.
"""

from collections.abc import Iterator
from random import Random
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from scr.composition.rendering import INSTRUCTION
from scr.lab import lexicon
from scr.lab.chats import FIXED_PHRASES
from scr.lab.claims import Claim
from scr.lab.contexts import RENDERINGS, TRAINED_RENDERINGS
from scr.lab.relations import RELATIONS

PAD: Final = "<|pad|>"
END: Final = "<|end|>"
ROLES: Final = ("system", "user", "assistant")
CONTEXT_LENGTH: Final = 1024

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] | trim | replace('<|', '< |') }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

_OPENING_QUOTE: Final = "\ue000 "  # a private-use sign; the renderer escapes it in facts
_WORDS: Final = (
    r"\n- \ue000"
    r"|'(?:s|t|re|ve|ll|d|m)\b"
    r"| ?\p{L}+| ?\p{N}"
    r"| ?[^\s\p{L}\p{N}]+"
    r"|\s+(?!\S)|\s+"
)


def role_token(role: str) -> str:
    """Return the token that opens a message of a role."""
    return f"<|{role}|>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Train the tokenizer on LabWorld's words and forms; the same one every time."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r'"(?=[\p{L}\p{N}])'), _OPENING_QUOTE),
            normalizers.Prepend(" "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace(_OPENING_QUOTE, '"'), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.train_from_iterator(
        _corpus(),
        trainers.BpeTrainer(
            vocab_size=8000,
            min_frequency=3,
            show_progress=False,
            special_tokens=[PAD, END, *map(role_token, ROLES)],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[role_token(role) for role in ROLES],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _corpus() -> Iterator[str]:
    for word in lexicon.all_words():
        yield from [word] * 20
    for relation in RELATIONS:
        for form in relation.forms:
            yield from [form.text.format(subject="Dana", target="Lee")] * 5
    rng = Random(0)
    claim = Claim("Dana", RELATIONS[0], "Lee")
    for text in (INSTRUCTION, *FIXED_PHRASES):
        yield from [f'{text}\n\n{text}\n- "Dana."\n- "Lee"'] * 5
    for name in TRAINED_RENDERINGS:
        for _ in range(5):
            shown = RENDERINGS[name]([claim.prohibition(rng), claim.statement(rng)], "Dana?")
            yield f"{shown.system or ''}{shown.user}"
    for _ in range(3000):  # pieces of words outside the lexicon
        yield "".join(rng.choices(lexicon.SYLLABLES, k=2)).capitalize()
