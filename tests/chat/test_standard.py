"""LangChain's standard tests, unit and integration, on the wrapper and on the fake.

None is opted out of by an override. What skips itself: serialization (a wrapper holds live
objects), settings from the environment (neither model reads any), and what a scripted model does
not have: another model to switch to, JSON mode, images, audio, PDFs, recorded traffic.
"""

from langchain_core.messages import AIMessage, ToolMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from scr.chat import ScrChatModel, ScriptedChatModel

from .knowledge import FakeKnowledge

JOKE = {"setup": "Why did Company X change its leader?", "punchline": "Its facts were stale."}
ARGUMENTS = {
    "magic_function": {"input": 3},
    "magic_function_no_args": {},
    "get_weather": {"location": "San Francisco, CA"},
    "greeting_generator": {"answer_style": "pirate"},
    "unicode_customer": {"customer_name": "你好 こんにちは", "description": "a company"},
    "Joke": JOKE,
    "JokeDict": JOKE,
    "joke": JOKE,
}


class CallingChatModel(ScriptedChatModel):
    """A script that calls the first bound tool once, as the tests expect of a real model."""

    def _answer(self, messages, stop, options):
        tools = options.get("tools")
        name = tools[0]["function"]["name"] if tools else ""
        if name in ARGUMENTS and not isinstance(messages[-1], ToolMessage):
            call = {"name": name, "args": ARGUMENTS[name], "id": "c1", "type": "tool_call"}
            self.answers = {"": AIMessage("", tool_calls=[call])}
        else:
            self.answers = {"": "Hello to Company X."}
        return super()._answer(messages, stop, options)


class TestWrapperUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self):
        return ScrChatModel

    @property
    def chat_model_params(self):
        return {"inner": CallingChatModel(answers={"": "Hello."}), "knowledge": FakeKnowledge()}

    # Skips itself: a wrapper holds live objects and cannot be serialized.


class TestScriptedUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self):
        return ScriptedChatModel

    @property
    def chat_model_params(self):
        return {"answers": {"": "Hello."}}


class TestWrapperIntegration(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return ScrChatModel

    @property
    def chat_model_params(self):
        return {"inner": CallingChatModel(answers={"": "Hello."}), "knowledge": FakeKnowledge()}
