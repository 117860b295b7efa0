"""`scr serve` and `scr keys`: the server in front of a model, and who may ask it."""

import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scr.cli.options import AsJson, StorePath, open_knowledge
from scr.cli.render import make_console, make_table, print_json, show_instant
from scr.errors import InvalidInput, MissingExtra
from scr.records import Role

if TYPE_CHECKING:
    from fastapi import FastAPI

    from scr.engine import SCR
    from scr.server import LocalModel, Upstream

app = typer.Typer()
keys = typer.Typer(help="Keys of the server: who may ask, and see which facts.")

LOCAL_TOKENS = 256  # of a local model's answer, where the request names no limit


@app.command()
def serve(
    upstream: Annotated[
        str | None,
        typer.Option("--upstream", metavar="URL", help="What answers, such as https://host/v1."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Instead: lab, a folder or a hub id."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 takes a free one.")
    ] = 8000,
    decision_timeout: Annotated[
        float | None,
        typer.Option("--decision-timeout", metavar="SECONDS", help="Longest wait for a decision."),
    ] = None,
    fail_closed: Annotated[
        bool | None,
        typer.Option("--fail-closed", help="Refuse a request that cannot be decided on."),
    ] = None,
    upstream_timeout: Annotated[
        float,
        typer.Option("--upstream-timeout", metavar="SECONDS", help="Wait for its next bytes."),
    ] = 600.0,
    max_bytes: Annotated[
        int, typer.Option("--max-bytes", metavar="N", min=1, help="Largest body of a request.")
    ] = 20_000_000,
    max_concurrent: Annotated[
        int, typer.Option("--max-concurrent", metavar="N", min=1, help="Requests at one time.")
    ] = 512,
    rate: Annotated[
        float,
        typer.Option("--rate", metavar="N", min=0, help="Requests a minute of a caller; 0: any."),
    ] = 0,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Serve a model, with the facts that apply, to any client.

    Clients change their base URL to this server's, with /v1 at the end. Requests are passed on to
    the server at --upstream, byte for byte where no fact applies, or answered by a local --model.
    Upstream's key is the client's own, or SCR_UPSTREAM_KEY, OPENAI_API_KEY or ANTHROPIC_API_KEY.
    Answers say in the headers x-scr-decision and x-scr-facts what was decided.
    """
    if (upstream is None) == (model is None):
        raise InvalidInput("name what answers: either --upstream URL or --model NAME")
    chosen: dict[str, Any] = {"decision_timeout": decision_timeout, "fail_closed": fail_closed}
    with open_knowledge(store, create=True, **chosen) as knowledge:
        try:
            from scr.server import Limits, create_app
        except ImportError as error:
            raise MissingExtra("server", str(error.name), "`scr serve`") from error
        _check_address(host, knowledge)
        behind = _behind(upstream, model, upstream_timeout)
        limits = Limits(max_bytes, max_concurrent, rate)
        application = create_app(knowledge, behind, limits=limits)
        _run(application, host, port, knowledge, as_json=as_json)


def _behind(upstream: str | None, model: str | None, timeout: float) -> "Upstream | LocalModel":
    """Return what answers."""
    from scr.server import LocalModel, Upstream

    if model is None:
        return Upstream(str(upstream), timeout=timeout)
    from scr.chat import load_chat_model

    return LocalModel(load_chat_model(model, max_tokens=LOCAL_TOKENS), model)


def _check_address(host: str, knowledge: "SCR") -> None:
    """Refuse to let other machines in where no key is asked for."""
    from scr.server.access import is_loopback

    if not knowledge.store.keys.list() and not is_loopback(host):
        raise InvalidInput(
            f"the store has no keys, so that anyone who reaches {host} could ask: make one with "
            "`scr keys create`, or listen on 127.0.0.1"
        )


def _run(application: "FastAPI", host: str, port: int, knowledge: "SCR", *, as_json: bool) -> None:
    import uvicorn

    from scr.server.telemetry import JsonFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs every URL
    config = uvicorn.Config(
        application,
        host,
        port,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # an address that anyone can claim is none
        server_header=False,  # upstream's own are passed on
        date_header=False,
        timeout_graceful_shutdown=30,
    )

    class Announcing(uvicorn.Server):
        async def shutdown(self, sockets: Any = None) -> None:
            application.state.gateway.ready = False  # balancers look elsewhere while streams end
            await super().shutdown(sockets)

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                bound = self.servers[0].sockets[0].getsockname()[1]
                _announce(f"http://{host}:{bound}", knowledge, as_json=as_json)

    Announcing(config).run()


def _announce(url: str, knowledge: "SCR", *, as_json: bool) -> None:
    open_to = "this machine only: no keys are set, `scr keys create` makes one"
    if knowledge.store.keys.list():
        open_to = "whoever shows a key"
    if as_json:
        print_json({"url": url, "base_url": f"{url}/v1", "open_to": open_to})
    else:
        console = make_console()
        console.print(f"serving {url}/v1 to {open_to}")
        console.print("stop with Ctrl-C; running answers are finished first", style="dim")
    sys.stdout.flush()


@keys.command("create")
def create(
    role: Annotated[Role, typer.Option("--role", help="What the key allows.")] = "reader",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="Scope it may see; may be repeated.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Whose it is, or what for.")] = "",
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and show its secret, once.

    A key sees facts of its scopes and of those above them. As soon as there is one, the server
    asks everyone for a key: as `x-scr-key`, as bearer token or as `x-api-key`.
    """
    with open_knowledge(store) as knowledge:
        scopes = scope or [knowledge.settings.scope]
        key, secret = knowledge.store.keys.create(role, scopes, by=knowledge.author, name=name)
    if as_json:
        print_json({**key.model_dump(mode="json"), "secret": secret})
        return
    make_console().print(f"key {key.id} ({key.role}, {', '.join(key.scopes)}):")
    typer.echo(secret)
    make_console().print("it is not shown again: only its hash is kept", style="dim")


@keys.command("list")
def listing(store: StorePath = None, as_json: AsJson = False) -> None:
    """List the keys, revoked ones too."""
    with open_knowledge(store) as knowledge:
        found = knowledge.store.keys.list()
    if as_json:
        for key in found:
            print_json(key.model_dump(mode="json"))
        return
    table = make_table("id", "role", "scopes", "name", "made", "state")
    for key in found:
        state = f"revoked {show_instant(key.revoked)}" if key.revoked else "in force"
        made = f"{show_instant(key.created)} by {key.by}"
        table.add_row(key.id, key.role, ", ".join(key.scopes), key.name, made, state)
    make_console().print(table if found else "no keys; `scr keys create` makes one")


@keys.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `scr keys list` shows it.")],
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key, for good; servers refuse it within a second."""
    with open_knowledge(store) as knowledge:
        key = knowledge.store.keys.revoke(key_id)
    if as_json:
        print_json(key.model_dump(mode="json"))
    else:
        make_console().print(f"key {key.id} is revoked")
