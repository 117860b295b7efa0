"""Tiny models and tokenizers; nothing is read from outside."""

import pytest

from tests.editing import tiny


@pytest.fixture
def tokenizer():
    return tiny.tokenizer_of()


@pytest.fixture
def gpt2():
    return tiny.make_model("gpt2")


@pytest.fixture
def llama():
    return tiny.make_model("llama")


@pytest.fixture(params=tiny.ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(params=tiny.TOKENIZERS)
def any_tokenizer(request):
    return tiny.tokenizer_of(request.param)
