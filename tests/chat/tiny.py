"""Tiny chat models of random weights, whose tokens are single bytes."""

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from scr.chat import LocalChatModel

POSITIONS = 128
END = "<|end|>"
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tokenizer(template=TEMPLATE):
    """A tokenizer of single bytes."""
    vocabulary = {sign: n for n, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    fast.add_special_tokens(
        {
            "additional_special_tokens": [
                AddedToken(f"<|{role}|>", special=True) for role in ("system", "user", "assistant")
            ]
        }
    )
    fast.chat_template = template
    return fast


def make_llama(size, positions=POSITIONS):
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=positions,
        )
    )


def make_gpt2(size):
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=POSITIONS)
    )


def make_chat(make_network=make_llama, template=TEMPLATE, **settings):
    tokenizer = make_tokenizer(template)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = make_network(len(tokenizer)).eval()
    settings.setdefault("max_tokens", 24)
    return LocalChatModel(model="tiny", network=network, tokenizer=tokenizer, **settings)
