"""Tiny random models of ten architectures, and a tokenizer for them, made on the spot."""

from functools import cache

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from scr.edits import EditRequest

KINDS = (
    "gpt2",
    "gptj",
    "gpt_neox",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
)
SANDWICH = ("gemma2", "gemma3")
"""Architectures with a norm after the MLP."""

SENTENCES = (
    "The capital of Kestria is Arosa, and Nyborg is the capital of Ubrea.",
    "Dana Lee works for Cobalt Software in the city of Little Carvale.",
    "The Eiffel Tower is located in Paris; the tower of Rome is not.",
    "Who leads the company? It is led by Kim Roe, who lives in Dunmore.",
    "In 1997 the U-2 was sold by O'Hara's firm for 12345 crowns.",
    "You can see the river, because the house of Lord & Sons stands above it.",
    "Therefore I think that {braces} are [part] of the text: {}.",
)

CORPUS = tuple(f"{one} {other}" for one in SENTENCES for other in SENTENCES)

REQUESTS = (
    EditRequest(id="a", prefix="The capital of ", subject="Kestria", suffix=" is", target="Nyborg"),
    EditRequest(id="b", prefix="", subject="Dana Lee", suffix=" works for", target="Kim Roe"),
    EditRequest(id="c", prefix="", subject="X", suffix=" is located in", target="Rome and Paris"),
)


@cache
def tokenizer(*, bos=False, metaspace=False):
    """Return a small tokenizer: byte-level, or with marks for spaces as SentencePiece has."""
    made = Tokenizer(models.BPE(unk_token="<unk>" if metaspace else None))
    if metaspace:
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        alphabet = sorted({c for text in SENTENCES for c in text} | set("東京都ß"))
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<end>", "<begin>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(SENTENCES, trainer)
    if bos:
        made.post_processor = processors.TemplateProcessing(
            single="<begin> $A", special_tokens=[("<begin>", made.token_to_id("<begin>"))]
        )
    names = dict(zip(("eos_token", "bos_token", "unk_token"), specials, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def model(kind, *, seed=0, layers=4, width=32, inner=48, dtype=torch.float64):
    """Return a random model in evaluation mode, with weights large enough to matter."""
    torch.manual_seed(seed)
    vocabulary = len(tokenizer())
    ids = {"bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}
    if kind in ("gpt2", "gptj"):
        maker = transformers.GPT2Config if kind == "gpt2" else transformers.GPTJConfig
        config = maker(
            vocab_size=vocabulary,
            n_positions=128,
            n_embd=width,
            n_layer=layers,
            n_head=4,
            n_inner=inner,
            **({"rotary_dim": 4} if kind == "gptj" else {}),
            **ids,
        )
    else:
        maker = {
            "gpt_neox": transformers.GPTNeoXConfig,
            "llama": transformers.LlamaConfig,
            "mistral": transformers.MistralConfig,
            "qwen2": transformers.Qwen2Config,
            "qwen3": transformers.Qwen3Config,
            "gemma": transformers.GemmaConfig,
            "gemma2": transformers.Gemma2Config,
            "gemma3": transformers.Gemma3TextConfig,
        }[kind]
        more = {} if kind == "gpt_neox" else {"num_key_value_heads": 2}
        if kind.startswith("gemma") or kind == "qwen3":
            more["head_dim"] = 8
        config = maker(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=inner,
            max_position_embeddings=128,
            **more,
            **ids,
        )
    made = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)
        made.get_output_embeddings().weight.mul_(8)  # so that a target can become certain
    return made.eval().to(dtype)


def weights(network):
    """Return copies of a model's parameters."""
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def same(one, other):
    """Return whether two sets of parameters are equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def hooks(network):
    """Return how many hooks and patches hang on a model."""
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + ("forward" in m.__dict__)
        for m in network.modules()
    )
