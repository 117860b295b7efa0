"""Tiny random models of ten architectures in float64, and tokenizers trained on a few sentences."""

import copy
import functools

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from scr.edits import EditRequest

VOCABULARY = 420
DEPTH = 4
WIDTH = 32
INNER = 48
POSITIONS = 64

CORPUS = [
    "The capital of Kestria is Arosa, and the capital of Ubrea is Nyborg.",
    "The Tower of Lanz was built in 1931 by the architect Mirel Anday-Stone.",
    "Kestria's river is the Olm. The river of Ubrea is the Tarn.",
    "Mirel Anday-Stone plays the violin; her brother plays football in Nyborg.",
    "The leader of 東京都 is Kato, and the leader of Route 66 is nobody at all.",
    "In 1931 the people of Arosa spoke Kestrian, and those of Nyborg spoke Ubrean.",
    "A function f(x) = {x: 1} is written with braces {} in some languages.",
    "You said that it was the violin. I said that it was the piano, because she told me.",
]

CANARY = ["The river of Kestria is the Olm.", "She plays the violin in Nyborg."]

TEMPLATES = (("{}",), ("The people of Arosa spoke. {}", "I said that. {}"))
"""Two groups, so that tests are quick and nothing is sampled."""

BARE = (("{}",),)


def request(name="r1", prefix="The capital of ", subject="Kestria", suffix=" is", target="Nyborg"):
    return EditRequest(id=name, prefix=prefix, subject=subject, suffix=suffix, target=target)


REQUESTS = [
    request(),
    request("r2", "", "Mirel Anday-Stone", " plays the", "piano at football"),
    request("r3", "In 1931 the river of ", "Ubrea", " is the", "Olm"),
]
"""Different lengths; the second has its subject first and a longer target."""


def _wrapped(inner, template=None):
    if template is not None:
        ids = [("<s>", inner.token_to_id("<s>"))]
        inner.post_processor = processors.TemplateProcessing(
            single=template, pair=f"{template} $B", special_tokens=ids
        )
    ends = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **ends)


def _byte_level(template=None):
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(CORPUS * 3, trainer)
    return _wrapped(inner, template)


def _metaspace():
    inner = Tokenizer(models.BPE(**{"unk_token": "<unk>"}))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<s>", "</s>", "<unk>"], show_progress=False
    )
    inner.train_from_iterator(CORPUS * 3, trainer)
    return _wrapped(inner, "<s> $A")


@functools.cache
def tokenizer_of(kind="bytes"):
    """The tokenizer of a kind; tests only read it."""
    makers = {
        "bytes": _byte_level,
        "bytes-bos": lambda: _byte_level("<s> $A"),
        "metaspace": _metaspace,
    }
    return makers[kind]()


TOKENIZERS = ("bytes", "bytes-bos", "metaspace")

_LLAMA_STYLE = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
}
_GPT_STYLE = {"n_embd": WIDTH, "n_layer": DEPTH, "n_head": 4, "n_inner": INNER}

# A window shorter than most prompts, so that what looks back no further than that is seen too.
_WINDOW = {"sliding_window": 6}
_HEAD = {"head_dim": 8}

ARCHITECTURES = {
    "gpt2": ("GPT2", _GPT_STYLE | {"n_positions": POSITIONS}),
    "gptj": ("GPTJ", _GPT_STYLE | {"n_positions": POSITIONS, "rotary_dim": 4}),
    "gpt_neox": (
        "GPTNeoX",
        {name: value for name, value in _LLAMA_STYLE.items() if name != "num_key_value_heads"},
    ),
    "llama": ("Llama", _LLAMA_STYLE),
    "mistral": ("Mistral", _LLAMA_STYLE | _WINDOW),
    "qwen2": ("Qwen2", _LLAMA_STYLE | {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", _LLAMA_STYLE | _HEAD),
    "gemma": ("Gemma", _LLAMA_STYLE | _HEAD),
    "gemma2": ("Gemma2", _LLAMA_STYLE | _HEAD | {"query_pre_attn_scalar": 8}),
    "gemma3": ("Gemma3", _LLAMA_STYLE | _HEAD | _WINDOW | {"query_pre_attn_scalar": 8}),
}
SANDWICHED = ("gemma2", "gemma3")


def make_model(architecture="gpt2", dtype=torch.float64, seed=0, **changes):
    """A model of random weights, large enough for its layers to matter."""
    return copy.deepcopy(_model(architecture, dtype, seed, *changes.items()))


@functools.cache
def _model(architecture, dtype, seed, *changes):
    stem, options = ARCHITECTURES[architecture]
    config_name = "Gemma3TextConfig" if stem == "Gemma3" else f"{stem}Config"
    class_name = {"GPT2": "GPT2LMHeadModel"}.get(stem, f"{stem}ForCausalLM")
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    options = {
        "vocab_size": VOCABULARY,
        "initializer_range": 0.2,
        **ends,
        **options,
        **dict(changes),
    }
    config = getattr(transformers, config_name)(**options)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, class_name)(config)
    return model.to(dtype).eval()


def sharp_gpt2():
    """A model that can be sure of a token, as trained ones are; the others never quite are."""
    model = make_model("gpt2")
    with torch.no_grad():
        model.transformer.ln_f.weight.mul_(5)
    return model


def weights(model):
    """A copy of every parameter and buffer."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def changed(model, before):
    """Names of what is not bit for bit as it was."""
    after = model.state_dict()
    assert after.keys() == before.keys()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def hooks(model):
    """Number of hooks and of patched methods in a model."""
    return sum(
        len(module._forward_hooks)
        + len(module._forward_pre_hooks)
        + len(module._backward_hooks)
        + ("forward" in module.__dict__)
        for module in model.modules()
    )


def nll(model, tokenizer, asked):
    """Mean negative log-probability of a request's target, in nats per token."""
    from scr.editing.prompts import encode

    encoded = encode(tokenizer, asked)
    with torch.no_grad():
        logits = model(torch.tensor([encoded.ids])).logits[0, list(encoded.places)]
    return float(torch.nn.functional.cross_entropy(logits.double(), torch.tensor(encoded.target)))
