"""A knowledge fake: it adds one fact to conversations whose last words name a subject."""

from datetime import UTC, datetime

from scr.records import Trace, TracedMatch

FACT = "Dana Lee runs Company X."


class FakeKnowledge:
    """Applies `FACT` where the last user message names Company X, by the engine's contract."""

    def __init__(self):
        self.asked = []
        self.counters = []
        self.budgets = []

    def run(self, messages, *, count_tokens=None, budget=None):
        self.asked.append(messages)
        self.counters.append(count_tokens)
        self.budgets.append(budget)
        if not messages or messages[-1]["role"] != "user":
            return messages, None
        if "Company X" not in str(messages[-1]["content"]):
            return messages, trace_of()
        if messages[0]["role"] in ("system", "developer"):
            content = messages[0]["content"]
            added = (
                f"{content}\n\n{FACT}"
                if isinstance(content, str)
                else [*content, {"type": "text", "text": FACT}]
            )
            return [{**messages[0], "content": added}, *messages[1:]], trace_of("f1")
        return [{"role": "system", "content": FACT}, *messages], trace_of("f1")


def trace_of(*fact_ids):
    return Trace(
        at=datetime(2026, 1, 1, tzinfo=UTC),
        query_hash="0" * 64,
        scope="default",
        valid_at=datetime(2026, 1, 1, tzinfo=UTC),
        applies=bool(fact_ids),
        probability=0.97 if fact_ids else 0.02,
        threshold=0.5,
        matches=tuple(TracedMatch(fact_id=f, probability=0.97, contributions={}) for f in fact_ids),
        injected=fact_ids,
        dropped=("f9",) if fact_ids else (),
        injected_tokens=6 if fact_ids else 0,
        sequence=4,
        detector="fake-1",
        embedder="none",
        timings={},
    )
