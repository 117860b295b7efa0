"""LangChain's standard tests on the wrapped lab model.

It calls no tools and reads text alone, so that everything about tools, structured output, images
and files skips itself: the two properties below say why. So does what the wrapper's tests skip.
"""

from functools import cache

from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from scr.chat import ScrChatModel, load_chat_model

from .knowledge import FakeKnowledge


@cache
def lab():
    return load_chat_model("lab", max_tokens=16)


class LabParameters:
    @property
    def chat_model_class(self):
        return ScrChatModel

    @property
    def chat_model_params(self):
        return {"inner": lab(), "knowledge": FakeKnowledge()}

    @property
    def has_tool_calling(self):
        return False  # five million parameters: it was trained to answer in words only

    @property
    def has_structured_output(self):
        return False  # that takes tools, or a grammar that this backend does not have


class TestWrappedLabUnit(LabParameters, ChatModelUnitTests):
    pass


class TestWrappedLabIntegration(LabParameters, ChatModelIntegrationTests):
    pass
