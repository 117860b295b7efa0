"""Facts for LangChain's agents (extra `agents`)."""

from collections.abc import Awaitable, Callable
from typing import Any

from scr.engine import SCR
from scr.errors import MissingExtra

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    raise MissingExtra("agents", "langchain", "the agents' middleware") from error


class ScrMiddleware(AgentMiddleware[Any, Any, Any]):
    """Lets every model call of an agent see the facts that apply to the user's question.

        agent = create_agent(model, tools, middleware=[ScrMiddleware(knowledge)])

    Nothing is put between a tool's call and its result. The agent's state never holds the facts.
    """

    def __init__(self, knowledge: SCR) -> None:
        """Take the facts of `knowledge`."""
        super().__init__()
        self._knowledge = knowledge

    def wrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
    ) -> ModelResponse:
        """Call the model wrapped."""
        return handler(self._wrapped(request))

    async def awrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[ModelResponse]]
    ) -> ModelResponse:
        """Do the same on an event loop."""
        return await handler(self._wrapped(request))

    def _wrapped(self, request: ModelRequest) -> ModelRequest:
        return request.override(model=self._knowledge.wrap(request.model))
