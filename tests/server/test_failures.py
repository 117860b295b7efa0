"""What happens when SCR itself fails; metrics, health, changes made elsewhere."""

import json
import logging
import threading
import time

import httpx2
import pytest

from scr.facts import make_fact
from scr.server.telemetry import JsonFormatter
from scr.store import Store

from .running import MentionDetector, eventually, open_knowledge
from .test_contract import ABOUT, OTHER, chat, post, sent

PATH = "/v1/chat/completions"


class BrokenDetector(MentionDetector):
    """Fails on what names Company X."""

    def __call__(self, query, candidates):
        if "Company X" in query.text:
            raise RuntimeError("the detector broke")
        return super().__call__(query, candidates)


class SlowDetector(MentionDetector):
    def __call__(self, query, candidates):
        time.sleep(0.4)
        return super().__call__(query, candidates)


def ask(url, text=ABOUT):
    return post(url, PATH, sent(chat(text), stream=False))


@pytest.fixture
def broken(tmp_path):
    def make(detector, **chosen):
        knowledge = open_knowledge(tmp_path / "broken.db", detector, **chosen)
        knowledge.add(subject="Company X", relation="owner", target="Dana Lee")
        made.append(knowledge)
        return knowledge

    made = []
    yield make
    for knowledge in made:
        knowledge.close()


def test_a_failing_decision_lets_the_request_pass_loudly(serve, broken, upstream, caplog):
    url = serve(broken(BrokenDetector()))
    with caplog.at_level(logging.ERROR):
        answer = ask(url)
    assert upstream.received[0].body == sent(chat(ABOUT), stream=False)
    assert answer.content == upstream.sent[0]
    assert answer.headers["x-scr-decision"] == "failed-open"
    assert "RuntimeError" in answer.headers["x-scr-warning"]
    assert "no decision: RuntimeError" in caplog.text
    assert 'scr_decisions_total{outcome="failed-open"} 1.0' in httpx2.get(f"{url}/metrics").text
    assert ask(url, OTHER).headers["x-scr-decision"] == "passed"


def test_a_slow_decision_lets_the_request_pass_loudly(serve, broken, upstream):
    url = serve(broken(SlowDetector(), decision_timeout=0.1))
    answer = ask(url)
    assert answer.headers["x-scr-decision"] == "failed-open"
    assert "within 0.1 s" in answer.headers["x-scr-warning"]


def test_fail_closed_refuses_instead(serve, broken, upstream):
    url = serve(broken(BrokenDetector(), fail_closed=True))
    answer = ask(url)
    assert answer.status_code == 503
    assert "fail_closed" in answer.json()["error"]["message"]
    assert upstream.received == []
    assert ask(url, OTHER).status_code == 200


def test_one_failing_request_does_not_spoil_those_decided_with_it(serve, broken):
    url = serve(broken(BrokenDetector()))
    outcomes = {}

    def one(number):
        text = ABOUT if number % 4 == 0 else OTHER
        outcomes[number] = ask(url, text).headers["x-scr-decision"]

    threads = [threading.Thread(target=one, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: o for n, o in outcomes.items() if n % 4 == 0} == dict.fromkeys(
        range(0, 16, 4), "failed-open"
    )
    assert set(outcomes.values()) == {"failed-open", "passed"}


def test_a_fact_approved_in_another_process_takes_effect_at_once(url, knowledge):
    asked = "Who is the owner of Company Y?"
    assert ask(url, asked).headers["x-scr-decision"] == "passed"
    with Store.open(knowledge.store.path) as elsewhere:
        elsewhere.add(make_fact(subject="Company Y", relation="owner", target="Bo"), by="bo")
    answer = ask(url, asked)
    assert answer.headers["x-scr-decision"] == "applied"
    assert answer.headers["x-scr-revision"] == "2"


def test_the_index_follows_without_being_asked(url, knowledge):
    with Store.open(knowledge.store.path) as elsewhere:
        elsewhere.add(make_fact(subject="Company Y", relation="owner", target="Bo"), by="bo")
    eventually(lambda: "scr_store_revision 2.0" in httpx2.get(f"{url}/metrics").text, 2)
    eventually(lambda: "scr_index_lag 0.0" in httpx2.get(f"{url}/metrics").text, 2)


def test_metrics_count_what_happens(url):
    ask(url)
    ask(url, OTHER)
    text = httpx2.get(f"{url}/metrics").text
    assert 'scr_requests_total{route="/v1/chat/completions",status="200"} 2.0' in text
    assert 'scr_decisions_total{outcome="applied"} 1.0' in text
    assert 'scr_step_seconds_count{step="retrieval"} 2.0' in text
    assert "Company X" not in text


def test_traces_keep_no_words_unless_asked(url, serve, tmp_path):
    trace = httpx2.get(f"{url}/explain/{ask(url).headers['x-scr-trace']}").json()
    assert trace["query"] is None
    assert "Company X" not in json.dumps(trace)
    with open_knowledge(tmp_path / "telling.db", trace_text=True) as telling:
        telling.add(subject="Company X", relation="owner", target="Dana Lee")
        other = serve(telling)
        trace = httpx2.get(f"{other}/explain/{ask(other).headers['x-scr-trace']}").json()
    assert trace["query"]["text"] == ABOUT


def test_a_request_keeps_its_id_and_unsound_ones_are_replaced(url):
    body = sent(chat(OTHER), stream=False)
    given = post(url, PATH, body, **{"x-request-id": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1"
    assert post(url, PATH, body, **{"x-request-id": "a b"}).headers["x-request-id"] != "a b"


def test_unknown_routes_and_traces_are_404_in_openais_shape(url):
    for path in ("/v1/unknown", "/explain/01ARZ3NDEKTSV4RRFFQ69G5FAV"):
        answer = httpx2.get(url + path)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"]


def test_models_and_embeddings_are_passed_through(url, upstream):
    models = httpx2.get(f"{url}/v1/models?limit=3")
    assert models.content == upstream.sent[0]
    assert upstream.received[0].query == "limit=3"
    embedded = post(url, "/v1/embeddings", b'{"input":  "x"}')
    assert (upstream.received[1].body, embedded.content) == (b'{"input":  "x"}', upstream.sent[1])


def test_a_line_of_the_log_is_json_without_anyones_words():
    record = logging.LogRecord("scr.server", logging.INFO, "x", 1, "answered", (), None)
    record.fields = {"status": 200}
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["status"], line["level"]) == ("answered", 200, "info")


def test_a_bad_answer_is_counted_for_its_facts(url, knowledge):
    trace = ask(url).headers["x-scr-trace"]
    (fact,) = knowledge.store.list()
    for vote, status in (("down", 204), ("up", 204), ("sideways", 422)):
        voted = httpx2.post(f"{url}/feedback/{trace}", json={"vote": vote})
        assert voted.status_code == status
    assert httpx2.post(f"{url}/feedback/unknown", json={"vote": "down"}).status_code == 404
    (used,) = knowledge.store.usage.list()
    assert (used.fact_id, used.fired, used.down) == (fact.fact.id, 1, 1)
