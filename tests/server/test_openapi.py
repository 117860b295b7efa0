"""schemathesis over the OpenAPI document: no 5xx, and no answer that is not documented."""

import json

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from scr.chat import ScriptedChatModel
from scr.server import LocalModel, create_app

from .running import running

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def attack(url, validate):
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 11
    for operation in operations:

        @QUICK
        @given(case=operation.as_strategy())
        def ask(case):
            validate(case, case.call())

        ask()


def test_the_proxy_answers_as_documented(url):
    attack(url, lambda case, response: case.validate_response(response, checks=CHECKS))


def test_a_local_model_answers_as_documented(knowledge):
    def validate(case, response):
        if response.status_code == 501:  # documented, and no fault
            assert json.loads(response.content)["error"]["type"] == "not_implemented"
        else:
            case.validate_response(response, checks=CHECKS)

    answers = ScriptedChatModel(answers={"": "I do not know."})
    with running(create_app(knowledge, LocalModel(answers, "fake"))) as url:
        attack(url, validate)
