"""The engine over a real store and retriever; the embedder and the detector are fakes."""

import copy
import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scr.chat import ScriptedChatModel
from scr.engine import SCR
from scr.errors import FactConflict, FactNotFound, InvalidInput, StoreError
from scr.messages import read_question
from scr.records import Decision, Evidence, Match, Turn
from scr.retrieval import HashEmbedder
from scr.settings import load_settings
from scr.store import Store

ASKED = [{"role": "user", "content": "Who is the chief executive officer of Company X?"}]
OTHER = [{"role": "user", "content": "Where is the nearest bakery?"}]


class MentionDetector:
    """Fires every fact whose subject the query names exactly."""

    def __call__(self, query, candidates):
        matches = tuple(
            Match(
                fact=candidate.fact,
                probability=0.9,
                evidence=Evidence(mention=candidate.mention, key=candidate.key),
            )
            for candidate in candidates
            if candidate.mention and candidate.mention.similarity == 1
        )
        return Decision(
            applies=bool(matches),
            matches=matches,
            probability=0.9 if matches else 0.1,
            reason=f"asked: {query.text}",
            threshold=0.5,
            detector="mention-1",
        )


class CountingEmbedder(HashEmbedder):
    """Counts the texts that were embedded."""

    def __init__(self):
        super().__init__()
        self.texts = 0

    def __call__(self, texts):
        self.texts += len(texts)
        return super().__call__(texts)


def open_knowledge(path, embedder=None, **chosen):
    return SCR(
        Store.open(path, create=True),
        load_settings(store=path, user="ana", **chosen),
        embedder=embedder or HashEmbedder(),
        detector=MentionDetector(),
    )


@pytest.fixture
def knowledge(tmp_path):
    with open_knowledge(tmp_path / "facts.db") as knowledge:
        yield knowledge


def add_ceo(knowledge, target="Dana Lee", **fields):
    return knowledge.add(
        subject="Company X", relation="chief executive officer", target=target, **fields
    )


def test_nothing_applies_nothing_changes(knowledge):
    add_ceo(knowledge)
    before = json.dumps(OTHER)
    messages, trace = knowledge.run(OTHER)
    assert messages is OTHER
    assert json.dumps(messages) == before
    assert not trace.applies
    assert trace.injected_tokens == 0
    assert knowledge.augment(OTHER) is OTHER


def test_an_empty_store_passes_everything_through(knowledge):
    assert knowledge.augment(ASKED) is ASKED


def test_a_fact_that_applies_reaches_the_prompt_and_the_input_is_left_alone(knowledge):
    fact = add_ceo(knowledge).fact
    before = copy.deepcopy(ASKED)
    messages, trace = knowledge.run(ASKED)
    assert before == ASKED
    assert messages[0]["role"] == "system"
    assert fact.statement in messages[0]["content"]
    assert messages[-1] is ASKED[-1]
    assert trace.injected == (fact.id,)
    assert trace.injected_tokens > 0
    assert trace.sequence == knowledge.store.sequence
    assert set(trace.timings) == {"retrieval", "detection", "composition"}


def test_tokens_are_counted_by_the_wrapped_model(knowledge):
    add_ceo(knowledge)
    _, trace = knowledge.run(ASKED, count_tokens=lambda text: 17)
    assert trace.injected_tokens == 17


def test_nothing_comes_between_a_tool_call_and_its_result(knowledge):
    add_ceo(knowledge)
    conversation = [
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": "Company X"},
    ]
    messages, trace = knowledge.run(conversation)
    assert messages is conversation
    assert trace is None


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "system", "content": "Company X"}],
        [{"role": "user", "content": "  "}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": 7}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
    ],
    ids=["none", "system only", "blank", "null", "number", "image only"],
)
def test_messages_without_a_question_pass_through(knowledge, messages):
    add_ceo(knowledge)
    assert knowledge.augment(messages) is messages


def test_a_question_is_read_from_text_parts_and_earlier_turns():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Who is"},
                {"type": "image_url", "image_url": {"url": "data:,"}},
                {"type": "text", "text": "this?"},
            ],
        },
    ]
    text, history = read_question(messages)
    assert text == "Who is\nthis?"
    assert history == (Turn(role="user", text="Hello"), Turn(role="assistant", text="Hi."))


def test_history_may_be_turns_or_messages(knowledge):
    add_ceo(knowledge)
    as_turns, as_messages = (
        knowledge.decide("And who is it now?", history=[said], valid_at="2026-01-01")
        for said in (Turn(role="user", text="Company X"), {"role": "user", "content": "Company X"})
    )
    assert as_turns == as_messages


def test_a_conflict_names_the_rival_and_superseding_solves_it(knowledge):
    first = add_ceo(knowledge)
    with pytest.raises(FactConflict, match=first.fact.id):
        add_ceo(knowledge, target="Kim Roe")
    new = knowledge.supersede(first.fact.id, "Kim Roe", why="board meeting")
    assert new.fact.supersedes == first.fact.id
    assert new.by == "ana"
    (match,) = knowledge.decide(ASKED[0]["content"]).matches
    assert match.fact.target == "Kim Roe"


def test_superseding_an_unknown_fact_says_so(knowledge):
    with pytest.raises(FactNotFound, match="nope"):
        knowledge.supersede("nope", "Kim Roe")


def test_a_time_in_the_question_decides_unless_one_is_given(knowledge):
    first = add_ceo(knowledge, validity={"start": "2020-01-01"})
    knowledge.supersede(first.fact.id, "Kim Roe", validity={"start": "2024-01-01"})
    question = ASKED[0]["content"]
    then = [{"role": "user", "content": question.replace("?", " in 2022?")}]
    (match,) = knowledge.decide(then[0]["content"]).matches
    assert match.fact.target == "Dana Lee"
    (match,) = knowledge.decide(then[0]["content"], valid_at="2025-01-01").matches
    assert match.fact.target == "Kim Roe"
    assert not knowledge.decide(question.replace("?", " in 2010?")).applies
    messages, trace = knowledge.run(then)
    assert "Dana Lee" in messages[0]["content"]
    assert trace.valid_at.year == 2022


def test_both_times_decide_what_is_seen(knowledge):
    first = add_ceo(knowledge, validity={"start": "2020-01-01"})
    second = knowledge.supersede(first.fact.id, "Kim Roe", validity={"start": "2024-01-01"})
    question = ASKED[0]["content"]

    def answer(**times):
        return [match.fact.target for match in knowledge.decide(question, **times).matches]

    assert answer() == ["Kim Roe"]
    assert answer(valid_at="2022-06-01") == ["Dana Lee"]
    assert answer(valid_at="2019-06-01") == []
    assert answer(as_of=first.sequence) == ["Dana Lee"]
    assert answer(as_of=first.at) == ["Dana Lee"]
    assert answer(as_of=first.at - timedelta(days=1)) == []
    assert knowledge.decide(question, as_of=first.sequence).sequence == first.sequence
    assert knowledge.decide(question).sequence == second.sequence


def test_scopes_are_a_boundary(knowledge):
    add_ceo(knowledge, scope="acme/support")
    question = ASKED[0]["content"]
    assert not knowledge.decide(question).applies
    assert not knowledge.decide(question, scope="acme").applies
    assert not knowledge.decide(question, scope="acme/sales").applies
    assert knowledge.decide(question, scope="acme/support").applies
    assert knowledge.decide(question, scope="acme/support/emea").applies


@pytest.mark.parametrize(
    "wrong", [{"valid_at": "yesterday"}, {"scope": "Not A Scope"}, {"as_of": "soon"}]
)
def test_unusable_times_and_scopes_are_refused(knowledge, wrong):
    with pytest.raises(InvalidInput, match="query cannot be used"):
        knowledge.decide("Who runs Company X?", **wrong)


def test_unusable_settings_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="threshold"):
        SCR.open(tmp_path / "facts.db", threshold=2)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text())
def test_no_text_of_a_query_raises(knowledge, text):
    knowledge.decide(text)
    knowledge.augment([{"role": "user", "content": text}])


@pytest.mark.parametrize(
    "text",
    ["", "x" * 1_000_000, "\x00\x01\xff", "من هو المدير؟", "👩‍👩‍👧‍👦 🏳️‍🌈", "\ud800", "\u202eabc"],
    ids=["empty", "1 MB", "binary", "right to left", "emoji", "surrogate", "bidi"],
)
def test_odd_queries_pass_through(knowledge, text):
    add_ceo(knowledge)
    messages = [{"role": "user", "content": text}]
    assert knowledge.augment(messages) is messages


def test_traces_keep_no_text_unless_asked(knowledge):
    add_ceo(knowledge)
    _, trace = knowledge.run(ASKED)
    stored = knowledge.store.trace(trace.id)
    assert stored == trace
    assert "Company X" not in stored.model_dump_json()
    assert stored.matches[0].probability == 0.9


def test_traces_keep_text_where_asked(tmp_path):
    with open_knowledge(tmp_path / "facts.db", trace_text=True) as knowledge:
        add_ceo(knowledge)
        _, trace = knowledge.run(ASKED)
        stored = knowledge.store.trace(trace.id)
    assert stored.query.text == ASKED[0]["content"]
    assert stored.matches[0].mention.text == "Company X"


def test_no_retention_keeps_no_traces(tmp_path):
    with open_knowledge(tmp_path / "facts.db", trace_retention_days=0) as knowledge:
        knowledge.run(ASKED)
        assert knowledge.store.traces(10) == []


def test_a_trace_that_cannot_be_kept_is_loud_and_harmless(knowledge, monkeypatch, caplog):
    add_ceo(knowledge)

    def refuse(*args, **kwargs):
        raise StoreError("disk full")

    monkeypatch.setattr(knowledge.store, "save_traces", refuse)
    with caplog.at_level(logging.WARNING):
        messages, _ = knowledge.run(ASKED)
    assert messages is not ASKED
    assert "could not be kept" in caplog.text


def test_what_one_process_approves_the_other_sees_at_its_next_decision(tmp_path):
    path = tmp_path / "facts.db"
    with open_knowledge(path) as writer, open_knowledge(path) as reader:
        question = ASKED[0]["content"]
        assert not reader.decide(question).applies
        fact = add_ceo(writer).fact
        assert reader.decide(question).applies
        writer.store.retire(fact.id, by="ana")
        assert not reader.decide(question).applies


def test_a_proposed_fact_does_not_fire_until_it_is_approved(tmp_path):
    path = tmp_path / "facts.db"
    Store.create(path, review=True).close()
    with open_knowledge(path) as knowledge:
        revision = add_ceo(knowledge)
        assert revision.status == "proposed"
        assert not knowledge.decide(ASKED[0]["content"]).applies
        knowledge.store.approve(revision.fact.id, by="ben")
        assert knowledge.decide(ASKED[0]["content"]).applies


def test_the_snapshot_spares_embedding_the_facts_again(tmp_path):
    path = tmp_path / "facts.db"
    first = CountingEmbedder()
    with open_knowledge(path, first) as knowledge:
        for number in range(20):
            knowledge.add(subject=f"Company {number}", relation="chair", target="Kim Roe")
        decision = knowledge.decide("Who is the chair of Company 7?", valid_at="2026-01-01")
    again = CountingEmbedder()
    with open_knowledge(path, again) as knowledge:
        same = knowledge.decide("Who is the chair of Company 7?", valid_at="2026-01-01")
        assert same == decision
    assert again.texts < first.texts / 3


def test_an_index_of_another_history_is_not_used(tmp_path, caplog):
    path = tmp_path / "facts.db"
    with open_knowledge(path) as knowledge:
        add_ceo(knowledge)
        assert knowledge.decide(ASKED[0]["content"]).applies
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    with open_knowledge(path) as knowledge, caplog.at_level(logging.WARNING):
        knowledge.add(subject="Company Y", relation="chair", target="Kim Roe")
        knowledge.add(subject="Company Z", relation="chair", target="Ada Orr")
        assert not knowledge.decide(ASKED[0]["content"]).applies
        assert knowledge.decide("Who is the chair of Company Y?").applies
    assert "another history" in caplog.text


def test_decisions_do_not_depend_on_when_the_clock_was_asked(knowledge):
    add_ceo(knowledge, validity={"end": datetime.now(UTC) + timedelta(days=1)})
    assert knowledge.decide(ASKED[0]["content"]).applies
    tomorrow = datetime.now(UTC) + timedelta(days=2)
    assert not knowledge.decide(ASKED[0]["content"], valid_at=tomorrow).applies


def test_superseding_keeps_what_names_and_ranks_the_fact(knowledge):
    first = add_ceo(knowledge, aliases=["X Corp"], tags=["board"], rank="preferred")
    new = knowledge.supersede(first.fact.id, "Kim Roe").fact
    assert (new.aliases, new.tags, new.rank) == (("X Corp",), ("board",), "preferred")
    assert new.statement == "The chief executive officer of Company X is Kim Roe."


def test_only_users_and_assistants_speak_in_the_history(knowledge):
    add_ceo(knowledge)
    system = [{"role": "system", "content": "You work for Company X."}]
    assert not knowledge.decide("And who is it now?", history=system).applies


@pytest.mark.parametrize("history", [["hello"], [7], [None]])
def test_a_history_of_something_else_is_refused(knowledge, history):
    with pytest.raises(InvalidInput, match="a turn of the history"):
        knowledge.decide("Who is it?", history=history)


@pytest.mark.parametrize("messages", ["hello", [7], ["hello"]])
def test_messages_of_another_shape_are_refused(knowledge, messages):
    with pytest.raises(InvalidInput, match="OpenAI's shape"):
        knowledge.augment(messages)


@pytest.mark.parametrize(("asked", "read"), [(10**30, 1), (-5, 0), (1, 1)])
def test_store_times_outside_the_store_are_brought_inside(knowledge, asked, read):
    add_ceo(knowledge)
    decision = knowledge.decide(ASKED[0]["content"], as_of=asked)
    assert decision.sequence == read
    assert decision.applies == (read == 1)


def test_no_room_in_the_model_means_nothing_is_injected(knowledge, caplog):
    fact = add_ceo(knowledge).fact
    messages, trace = knowledge.run(ASKED, budget=1)
    assert messages is ASKED
    assert trace.applies
    assert trace.dropped == (fact.id,)


def test_an_index_that_cannot_be_saved_is_loud_and_harmless(tmp_path, caplog):
    path = tmp_path / "facts.db"
    (tmp_path / "facts.db.index").mkdir()
    with open_knowledge(path) as knowledge, caplog.at_level(logging.WARNING):
        add_ceo(knowledge)
        assert knowledge.decide(ASKED[0]["content"]).applies
    assert "could not be saved" in caplog.text
    with pytest.raises(StoreError):
        knowledge.store.list()


class RacedStore(Store):
    """Another process commits between two reads of this one."""

    meanwhile = None

    @property
    def sequence(self):
        found = super().sequence
        if self.meanwhile:
            act, self.meanwhile = self.meanwhile, None
            act()
        return found


def test_a_change_between_two_reads_is_counted(tmp_path, caplog):
    path = tmp_path / "facts.db"
    Store.create(path).close()
    store = RacedStore.open(path)
    settings = load_settings(store=path, user="ana")
    with SCR(store, settings, embedder=HashEmbedder(), detector=MentionDetector()) as knowledge:
        knowledge.add(subject="Company Y", relation="chair", target="Kim Roe")
        store.meanwhile = lambda: add_ceo(knowledge)
        _, trace = knowledge.run(ASKED)
        (injected,) = trace.injected
        assert store.get(injected, as_of=trace.sequence).fact.target == "Dana Lee"
    with open_knowledge(path) as knowledge, caplog.at_level(logging.WARNING):
        assert knowledge.decide(ASKED[0]["content"]).applies
    assert "another history" not in caplog.text


def test_no_retention_deletes_the_traces_of_before(tmp_path):
    path = tmp_path / "facts.db"
    with open_knowledge(path, trace_text=True) as knowledge:
        knowledge.run(ASKED)
        assert len(knowledge.store.traces(10)) == 1
    with open_knowledge(path, trace_retention_days=0) as knowledge:
        assert knowledge.store.traces(10) == []


@pytest.mark.parametrize("content", [b"threshold = ", b"\xff\xfe", b"threshold = 7", b"colour = 1"])
def test_an_unusable_settings_file_is_named(tmp_path, content):
    (tmp_path / "scr.toml").write_bytes(content)  # the tests' working directory
    with pytest.raises(InvalidInput, match=r"scr\.toml|threshold|colour"):
        load_settings()


def test_what_must_not_be_stated_is_not_put_into_prompts(knowledge):
    knowledge.add(kind="forget", subject="Ana Roe", relation="home address", target="12 Elm Street")
    messages = knowledge.augment([{"role": "user", "content": "Where does Ana Roe live?"}])
    assert "must not be stated" in messages[0]["content"]
    assert "Elm" not in str(messages)


class EnglishEmbedder(HashEmbedder):
    """Says that it knows English only."""

    def __init__(self):
        super().__init__()
        self.languages = frozenset({"en"})


def test_a_query_in_a_language_that_the_embedder_does_not_know_passes_through(tmp_path):
    with open_knowledge(tmp_path / "facts.db", EnglishEmbedder()) as knowledge:
        fact = add_ceo(knowledge).fact
        assert knowledge.decide("Who runs Company X these days?").applies
        decision = knowledge.decide("Wer ist heute der Geschäftsführer von Company X?")
        assert not decision.applies
        assert decision.matches == ()
        assert "(de)" in decision.reason
        assert "`embedder`" in decision.reason
        assert decision.runner_up.fact.id == fact.id


def test_the_decision_says_of_which_time_it_speaks(knowledge):
    add_ceo(knowledge, validity={"start": "2024-01-01"})
    assert knowledge.decide("Who ran Company X in 2019?").valid_at.year == 2019
    assert not knowledge.decide("Who ran Company X in 2019?").applies
    assert knowledge.decide("Who runs Company X?").valid_at.date() == datetime.now(UTC).date()


def test_a_calibration_of_another_embedder_is_refused(tmp_path):
    from scr.detection import Recalibration

    path = tmp_path / "calibration.json"
    Recalibration(embedder="another", detector="trees", answered=20, unanswered=()).save(path)
    with SCR(
        Store.open(tmp_path / "facts.db", create=True),
        load_settings(store=tmp_path / "facts.db", calibration=path),
        embedder=HashEmbedder(),
    ) as knowledge:
        add_ceo(knowledge)
        with pytest.raises(InvalidInput, match="another embedding model"):
            knowledge.decide("Who runs Company X?")


def test_many_queries_are_decided_as_one_by_one(tmp_path):
    texts = ["Who runs Company X?", "Wer leitet Company X?", "", "Where is it?", "Company X"] * 70
    for detector in (MentionDetector(), None):  # None: the shipped one, which decides in batches
        path = tmp_path / f"{detector is None}.db"
        with SCR(
            Store.open(path, create=True),
            load_settings(store=path),
            embedder=EnglishEmbedder(),
            detector=detector,
        ) as knowledge:
            add_ceo(knowledge)
            at = datetime(2026, 1, 1, tzinfo=UTC)
            many = knowledge.decide_many(texts, valid_at=at)
            assert len(many) == len(texts)
            assert knowledge.decide_many([]) == []
            for text, decision in list(zip(texts, many, strict=True))[:5]:
                alone = knowledge.decide(text, valid_at=at)
                assert decision.applies == alone.applies
                assert decision.reason == alone.reason
                assert decision.probability == pytest.approx(alone.probability, abs=1e-3)


class Refusing:
    """Refuses every statement that holds a word."""

    name = "refusing"

    def __init__(self, word):
        self.word = word

    def __call__(self, query, statements):
        return [0.0 if self.word in statement else 1.0 for statement in statements]


def test_a_confirmer_takes_facts_away_and_never_adds_one(tmp_path):
    path = tmp_path / "facts.db"
    for word, applies, ids in (("Dana", True, {"hq"}), ("Company", False, set())):
        with SCR(
            Store.open(path, create=True),
            load_settings(store=path),
            embedder=HashEmbedder(),
            detector=MentionDetector(),
            confirmer=Refusing(word),
        ) as knowledge:
            if not knowledge.store.sequence:
                add_ceo(knowledge, id="ceo")
                knowledge.add(id="hq", subject="Company X", relation="seat", target="Norburg")
            decision = knowledge.decide("Who runs Company X?")
            assert decision.applies == applies
            assert {match.fact.id for match in decision.matches} == ids
            assert decision.runner_up.fact.id not in ids
            assert "confirmed by refusing" in decision.reason
            (batched,) = knowledge.decide_many(["Who runs Company X?"])
            assert (batched.applies, batched.reason) == (applies, decision.reason)
            nothing = knowledge.decide("Where is the bakery?")
            assert "confirmed" not in nothing.reason


def test_the_wrapped_model_confirms_where_the_setting_says_so(tmp_path):
    def answer(messages):
        return "No." if "Does the statement" in messages[-1].content else "Nobody."

    model = ScriptedChatModel(answers=answer)
    with open_knowledge(tmp_path / "facts.db", confirmer="model") as knowledge:
        add_ceo(knowledge)
        reply = knowledge.wrap(model).invoke("Who runs Company X?")
        assert reply.response_metadata["scr"]["applies"] is False
        assert [len(call) for call in model.calls] == [1, 1]  # asked, then answered as it was
        trace = knowledge.store.trace(reply.response_metadata["scr"]["trace"])
        assert set(trace.timings) >= {"retrieval", "detection", "confirmation"}


def test_an_erased_fact_leaves_the_index_beside_the_store(tmp_path):
    path = tmp_path / "facts.db"
    with open_knowledge(path) as knowledge, open_knowledge(path) as elsewhere:
        gone = add_ceo(knowledge, "Zebrawood").fact
        knowledge.add(subject="Company Y", relation="owner", target="Bo")
        for each in (knowledge, elsewhere):
            assert each.decide("Who is the owner of Company Y?").applies
        knowledge.erase(gone.id, why="request 17")
        assert not elsewhere.decide(ASKED[0]["content"]).applies
        assert elsewhere.decide("Who is the owner of Company Y?").applies
    assert (tmp_path / "facts.db.index").exists()
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert b"zebrawood" not in held.lower()
