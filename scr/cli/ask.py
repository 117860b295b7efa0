"""Commands that use the facts: ask a model, see why a fact applied, watch the demo."""

from typing import TYPE_CHECKING, Annotated

import typer

from scr.cli.options import AsJson, AsOf, ScopePath, StorePath, ValidAt, open_knowledge
from scr.cli.reasons import print_decision, print_provenance, print_trace
from scr.cli.render import make_console, print_json, visible
from scr.errors import FactNotFound, InvalidInput
from scr.facts import Fact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import BaseChatModel

    from scr.records import Message, Trace
    from scr.store import Store

app = typer.Typer()


@app.command()
def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The user's words.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="`lab` (shipped), a folder, a hub id, or the base URL of a server.",
        ),
    ] = "lab",
    stream: Annotated[bool, typer.Option("--stream", help="Print words as they come.")] = False,
    bare: Annotated[bool, typer.Option("--bare", help="Ask the model alone: no facts.")] = False,
    valid_at: ValidAt = None,
    as_of: AsOf = None,
    scope: ScopePath = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Ask a chat model with the store's facts.

    Says which fact the answer came from, or that none applied.
    """
    if not question.strip():
        raise InvalidInput("the question is empty; say what to ask")
    from scr.chat import load_chat_model

    messages: Sequence[Message] = [{"role": "user", "content": question}]
    trace: Trace | None = None
    facts: list[Fact] = []
    chat = load_chat_model(model)
    if not bare:
        with open_knowledge(store) as knowledge:
            messages, trace = knowledge.run(
                messages,
                valid_at=valid_at,
                as_of=as_of,
                scope=scope,
                count_tokens=getattr(chat, "count_tokens", None),
            )
            facts = injected_facts(knowledge.store, trace)
    answer = say(chat, messages, aloud=stream and not as_json)
    if as_json:
        print_json({"answer": answer, "facts": facts, "trace": trace})
        return
    typer.echo("" if stream else visible(answer, lines=True))
    if not bare:
        print_provenance(trace, facts)


def say(chat: "BaseChatModel", messages: "Sequence[Message]", *, aloud: bool) -> str:
    """Return the model's answer; `aloud` prints its pieces as they come."""
    if not aloud:
        return str(chat.invoke([dict(message) for message in messages]).text)
    pieces = []
    for chunk in chat.stream([dict(message) for message in messages]):
        pieces.append(str(chunk.text))
        typer.echo(visible(pieces[-1], lines=True), nl=False)
    return "".join(pieces)


def injected_facts(store: "Store", trace: "Trace | None") -> list[Fact]:
    """Return the facts that a trace put into the prompt, as they were then."""
    return [store.get(name, as_of=trace.sequence).fact for name in trace.injected] if trace else []


@app.command()
def why(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The user's words.")] = "",
    trace_id: Annotated[
        str | None,
        typer.Option("--trace", metavar="ID", help="Explain a decision that was recorded."),
    ] = None,
    valid_at: ValidAt = None,
    as_of: AsOf = None,
    scope: ScopePath = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Explain what SCR decides for a question.

    Shows the words that name the subject, the key that matched, what each feature weighed, and
    the best fact that was refused.
    """
    if bool(question.strip()) == (trace_id is not None):
        raise InvalidInput("give either a question or --trace ID")
    with open_knowledge(store) as knowledge:
        if trace_id is None:
            decision = knowledge.decide(question, valid_at=valid_at, as_of=as_of, scope=scope)
            print_json(decision) if as_json else print_decision(decision)
            return
        trace = knowledge.store.trace(trace_id)
        print_json(trace) if as_json else print_trace(trace, facts_of(knowledge.store, trace))


def facts_of(store: "Store", trace: "Trace") -> dict[str, Fact]:
    """Return the facts that a trace names and the store still has, by id."""
    matches = [*trace.matches, *([trace.runner_up] if trace.runner_up else [])]
    facts = {}
    for fact_id in (i for match in matches for i in (match.fact_id, *match.via)):
        try:
            facts[fact_id] = store.get(fact_id, as_of=trace.sequence).fact
        except FactNotFound:  # erased since
            continue
    return facts


@app.command()
def demo(store: StorePath = None, as_json: AsJson = False) -> None:
    """Watch stale answers change, offline, on the lab model.

    The demo has a store of its own and exits with 1 if anything it claims did not hold.
    """
    from scr.cli.demo import run_demo

    held = run_demo(make_console(stderr=as_json))
    if as_json:
        print_json({"held": held})
    if not held:
        raise typer.Exit(1)
