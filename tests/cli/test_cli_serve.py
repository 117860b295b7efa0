"""`scr serve` and `scr keys`."""

import json
import os
import re
import signal
import subprocess
import sys

import httpx2
import pytest


def test_keys_are_made_listed_and_revoked(scr):
    scr("init")
    made = scr("keys", "create", "--role", "editor", "--scope", "acme", "--name", "ci", "--json")
    key = json.loads(made.out)
    assert key["secret"].startswith(f"scr_{key['id']}_")
    assert (key["role"], key["scopes"], key["name"]) == ("editor", ["acme"], "ci")
    listed = scr("keys", "list")
    assert key["id"] in listed.out
    assert key["secret"] not in listed.out
    assert "is revoked" in scr("keys", "revoke", key["id"]).out
    assert json.loads(scr("keys", "list", "--json").out)["revoked"]
    assert scr("keys", "revoke", key["id"]).code == 3


def test_a_key_needs_a_role_and_scopes_that_exist(scr):
    scr("init")
    assert scr("keys", "create", "--role", "king").code == 2
    assert "no scope" in scr("keys", "create", "--scope", "Not A Scope").err


@pytest.mark.parametrize("arguments", [[], ["--upstream", "http://x", "--model", "lab"]])
def test_it_is_said_what_answers(scr, arguments):
    ran = scr("serve", *arguments)
    assert ran.code == 2
    assert "--upstream" in ran.err


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org"])  # noqa: S104 - refused is what it is
def test_other_machines_are_not_let_in_without_keys(scr, host):
    ran = scr("serve", "--upstream", "http://127.0.0.1:9", "--host", host)
    assert ran.code == 2
    assert "scr keys create" in ran.err


@pytest.fixture
def served(tmp_path):
    """`scr serve --model lab` as a process; gives its address and its store."""
    environment = {**os.environ, "SCR_STORE": str(tmp_path / "facts.db")}
    command = [sys.executable, "-m", "scr"]
    fact = ["Qorvex Works", "chief executive officer", "Dana Lee"]
    subprocess.run([*command, "add", *fact], env=environment, check=True)
    process = subprocess.Popen(
        [*command, "serve", "--model", "lab", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    yield re.search(r"http://[\d.:]+", line).group(), process
    process.kill()
    process.communicate()


@pytest.mark.system
def test_the_lab_model_is_served_and_curl_asks_it(served):
    url, process = served
    body = {"messages": [{"role": "user", "content": "Who is the CEO of Qorvex Works?"}]}
    curl = ["curl", "-sS", "-i", f"{url}/v1/chat/completions", "-d", json.dumps(body)]
    out = subprocess.run(curl, capture_output=True, text=True, check=True).stdout
    assert "x-scr-decision: applied" in out
    assert (
        "Dana Lee"
        in json.loads(out.split("\n\n", 1)[1].strip() or "{}")["choices"][0]["message"]["content"]
    )
    stream = json.dumps({**body, "stream": True})
    out = subprocess.run(
        [*curl[:-1], stream, "-N"], capture_output=True, text=True, check=True
    ).stdout
    assert "data: [DONE]" in out
    assert httpx2.get(f"{url}/readyz").json() == {"status": "ready"}
    process.send_signal(signal.SIGTERM)
    _, logs = process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)
    answered = [json.loads(text) for text in logs.splitlines() if '"answered"' in text]
    assert answered[0]["decision"] == "applied"
    assert "Qorvex" not in logs
