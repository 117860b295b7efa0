"""Metrics for Prometheus, and logs of one JSON object a line. No one's words are in either."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scr.records import Trace

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request at hand; every line of the log bears it."""

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES: Final = (1, 2, 4, 8, 16, 32)


class Metrics:
    """What a server counts and times; one registry each."""

    def __init__(self) -> None:
        """Start at zero."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "scr_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self.decisions = Counter(
            "scr_decisions", "Decisions by their outcome.", ["outcome"], registry=self.registry
        )
        self.steps = Histogram(
            "scr_step_seconds", "Time of each step of a decision.", ["step"],
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self.waiting = Histogram(
            "scr_decision_seconds", "Time a request waits for its decision.",
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self.batches = Histogram(
            "scr_batch_size", "Requests decided on together.",
            registry=self.registry, buckets=_SIZES,
        )  # fmt: skip
        self.upstream_errors = Counter(
            "scr_upstream_errors", "Requests that upstream did not answer.", ["kind"],
            registry=self.registry,
        )  # fmt: skip
        self.tokens = Counter(
            "scr_injected_tokens", "Tokens put into prompts.", registry=self.registry
        )
        self.revision = Gauge(
            "scr_store_revision", "Sequence number of the store.", registry=self.registry
        )
        self.lag = Gauge(
            "scr_index_lag", "Changes that the index has not followed.", registry=self.registry
        )

    def traced(self, trace: Trace) -> None:
        """Count what a trace tells."""
        for step, milliseconds in trace.timings.items():
            self.steps.labels(step).observe(milliseconds / 1e3)
        self.tokens.inc(trace.injected_tokens)


class JsonFormatter(logging.Formatter):
    """A line of JSON for each record: time, level, logger, message, request, and what is extra."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **({"request": request_id.get()} if request_id.get() else {}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
