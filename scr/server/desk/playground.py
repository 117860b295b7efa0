"""A question as a user would ask it: what is decided and why, and two answers as they are made."""

import asyncio
import html
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import urlencode

from fastapi.responses import Response, StreamingResponse
from langchain_core.messages import convert_to_messages
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from scr.errors import InvalidInput
from scr.records import Decision, Match, Message
from scr.server.desk.desk import HEADERS, Desk
from scr.server.desk.facts import when
from scr.server.desk.people import Person
from scr.server.desk.routing import Route, Routes
from scr.server.desk.words import marked
from scr.server.local import LocalModel

log = logging.getLogger(__name__)

_LONGEST: Final = 20_000  # characters of a question
_FAILED: Final = "(The model failed; the server's log says why.)"


class PlaygroundPages:
    """Try the facts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Routes:
        """Yield the pages' routes."""
        yield Route("/playground", "GET", self.playground)
        yield Route("/playground/answers", "GET", self.answers)

    def playground(
        self, request: Request, q: str = "", valid_at: str = "", answers: str = ""
    ) -> Response:
        """Decide on a question, and show why."""
        person = self._desk.person(request)
        wrong, decision, said = "", None, None
        scope = self._scope(person)
        try:
            at = when(valid_at) if valid_at.strip() else None
        except InvalidInput as error:
            wrong, valid_at, at = str(error), "", None
        question = q[:_LONGEST]
        has_model = isinstance(self._desk.gateway.behind, LocalModel)
        if question.strip():
            decision = self._desk.knowledge.decide(question, scope=scope, valid_at=at)
            if answers == "whole" and has_model:
                bare, with_facts = self._asks(person, question, valid_at)
                said = self._answer(bare), self._answer(with_facts)
        query = urlencode({"q": question, "valid_at": valid_at})
        return self._desk.page(
            "playground.html", request, person,
            asked=question, valid_at=valid_at, wrong=wrong, decision=decision, said=said,
            has_model=has_model, query=query, scope=scope,
            marked=marked(question, decision) if decision else [],
            shown=_shown(decision) if decision else [],
        )  # fmt: skip

    def _scope(self, person: Person) -> str:
        return person.caller.scope(None, self._desk.knowledge.settings.scope)

    def _asks(
        self, person: Person, question: str, valid_at: str
    ) -> tuple[Sequence[Message], Sequence[Message]]:
        """Return the messages without and with the facts that apply."""
        asked = [{"role": "user", "content": question}]
        at = when(valid_at) if valid_at.strip() else None
        composed, _ = self._desk.knowledge.run(asked, scope=self._scope(person), valid_at=at)
        return asked, composed

    def _answer(self, messages: Sequence[Message]) -> str:
        behind = self._desk.gateway.behind
        assert isinstance(behind, LocalModel)  # noqa: S101 - asked only then
        return str(behind.chat.invoke(convert_to_messages([dict(m) for m in messages])).text)

    async def answers(self, request: Request, q: str = "", valid_at: str = "") -> Response:
        """Stream both answers, as events whose data is HTML."""
        person = await run_in_threadpool(self._desk.person, request)
        if not isinstance(self._desk.gateway.behind, LocalModel) or not q.strip():
            raise InvalidInput("there is nothing to be answered here")
        asks = await run_in_threadpool(self._asks, person, q[:_LONGEST], valid_at)
        events = self._events(self._desk.gateway.behind, asks)
        return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)

    async def _events(
        self, behind: LocalModel, asks: tuple[Sequence[Message], Sequence[Message]]
    ) -> AsyncIterator[bytes]:
        """Yield the parts of both answers as they come, then the end."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def say(name: str, messages: Sequence[Message]) -> None:
            try:
                async for text in behind.say(messages):
                    queue.put_nowait(_event(name, text))
            except Exception:  # whatever it is, the other answer goes on
                log.exception("the playground's answer failed")
                queue.put_nowait(_event(name, _FAILED))
            queue.put_nowait(None)

        tasks = [
            asyncio.create_task(say(name, messages))
            for name, messages in zip(("bare", "wrapped"), asks, strict=True)
        ]
        try:
            running = len(tasks)
            while running:
                event = await queue.get()
                if event is None:
                    running -= 1
                else:
                    yield event
            yield b"event: done\ndata: done\n\n"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _event(name: str, text: str) -> bytes:
    # Escaped: what a model says is no markup. A line break would end the data.
    lines = html.escape(text).replace("\r", "").split("\n")
    data = "".join(f"data: {line}\n" for line in lines)
    return f"event: {name}\n{data}\n".encode("utf-8", "replace")


def _shown(decision: Decision) -> list[tuple[int, Match, bool]]:
    """Return the facts that apply and the runner-up, numbered."""
    matches = [(match, True) for match in decision.matches]
    if decision.runner_up is not None:
        matches.append((decision.runner_up, False))
    return [(number, match, applied) for number, (match, applied) in enumerate(matches, start=1)]
