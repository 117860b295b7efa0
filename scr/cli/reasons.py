"""How a decision and its evidence look: which words, which key, and what each feature weighed."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scr.cli.render import make_console, make_table, shorten, show_instant, visible
from scr.facts import Fact
from scr.records import Decision, Match, Mention, Trace, TracedMatch

BAR = 16  # characters of the longest bar
SHOWN = 8  # features that are listed by name


def print_decision(decision: Decision) -> None:
    """Print what was decided for a query, and why."""
    _print_verdict(decision.applies, decision.probability, decision.threshold, decision.reason)
    for match in decision.matches:
        _print_match("applies", match)
    if decision.runner_up is not None:
        _print_match("refused", decision.runner_up)
    _print_origin(decision.sequence, decision.detector, decision.embedder, decision.valid_at)


def print_trace(trace: Trace, facts: Mapping[str, Fact]) -> None:
    """Print a stored trace; `facts` holds those of its facts that can be shown, by id."""
    asked = f" {visible(trace.query.text)}" if trace.query else f" (SHA-256 {trace.query_hash})"
    make_console().print(Text(f"{show_instant(trace.at)}  asked{asked}"))
    _print_verdict(trace.applies, trace.probability, trace.threshold, trace.reason)
    for match in trace.matches:
        _print_traced("applies", match, facts)
    if trace.runner_up is not None:
        _print_traced("refused", trace.runner_up, facts)
    if trace.dropped:
        make_console().print(f"over the token budget: {', '.join(trace.dropped)}")
    if trace.shortened:
        make_console().print(f"shown in part: {', '.join(trace.shortened)}")
    spent = ", ".join(f"{step} {ms:.1f} ms" for step, ms in trace.timings.items())
    make_console().print(f"{trace.injected_tokens} tokens injected; {spent}", style="dim")
    _print_origin(trace.sequence, trace.detector, trace.embedder, trace.valid_at)


def print_provenance(trace: Trace | None, facts: Sequence[Fact]) -> None:
    """Print which facts an answer was given with; `facts` are those that were injected."""
    console = make_console()
    if trace is None or not trace.injected:
        chance = f" (p = {trace.probability:.3f})" if trace else ""
        console.print(f"no fact applied{chance}: the request went through unchanged", style="dim")
        return
    chances: dict[str, float] = {}
    for match in trace.matches:  # the most probable first
        for fact_id in (match.fact_id, *match.via):
            chances.setdefault(fact_id, match.probability)
    for fact in facts:
        line = f"from {fact.id} (p = {chances[fact.id]:.3f}): {shorten(fact.statement)}"
        console.print(Text(line, "dim"))
        for source in fact.sources:
            console.print(Padding(Text(visible(source), "dim"), (0, 0, 0, 5)))


def _print_verdict(applies: bool, probability: float, threshold: float, reason: str) -> None:
    console = make_console()
    verdict = Text("applies" if applies else "passes through", "bold green" if applies else "bold")
    sign = "≥" if applies else "<"
    console.print(verdict + Text(f"  p = {probability:.3f} {sign} {threshold:.3f}", "not bold"))
    if reason:
        console.print(Text(visible(reason)))


def _print_origin(sequence: int, detector: str, embedder: str, valid_at: datetime | None) -> None:
    asked = f"valid at {show_instant(valid_at)}, " if valid_at else ""
    line = f"{asked}store change {sequence}, detector {detector}, embedder {embedder[:12]}"
    make_console().print(Text(visible(line), "dim"))


def _print_match(verdict: str, match: Match) -> None:
    evidence = match.evidence
    _print_evidence(
        verdict,
        match.fact.id,
        match.probability,
        [
            match.fact.statement,
            *(f"over {fact.id}: {fact.statement}" for fact in match.via),
            *_grounds(evidence.mention),
            f"nearest key: {evidence.key}",
        ],
        evidence.contributions,
    )


def _print_traced(verdict: str, match: TracedMatch, facts: Mapping[str, Fact]) -> None:
    fact = facts.get(match.fact_id)
    over = [f"over {i}: {facts[i].statement}" for i in match.via if i in facts]
    lines = [*([fact.statement] if fact else []), *over, *_grounds(match.mention)]
    _print_evidence(verdict, match.fact_id, match.probability, lines, match.contributions)


def _grounds(mention: Mention | None) -> list[str]:
    if mention is None:
        return []
    where = "" if mention.turn is None else f" in turn {mention.turn + 1} of the conversation"
    return [f"words: “{mention.text}”{where} name {mention.name} ({mention.similarity:.2f})"]


def _print_evidence(
    verdict: str,
    fact_id: str,
    probability: float,
    lines: Sequence[str],
    contributions: Mapping[str, float],
) -> None:
    console = make_console()
    head = Text(f"\n{verdict}  ", "green" if verdict == "applies" else "yellow")
    console.print(head + Text(f"{fact_id}  p = {probability:.3f}", "default"))
    for line in lines:
        console.print(Padding(Text(shorten(line)), (0, 0, 0, 2)))
    if contributions:
        console.print(Padding(_shares(contributions), (0, 0, 0, 2)))


def _shares(contributions: Mapping[str, float]) -> Table:
    """The heaviest features' shares of the log-odds, with bars; the others as one sum."""
    ranked = sorted(contributions.items(), key=lambda pair: -abs(pair[1]))
    shown, others = ranked[:SHOWN], ranked[SHOWN:]
    if others:
        shown.append((f"{len(others)} others", sum(share for _, share in others)))
    largest = max(abs(share) for _, share in shown) or 1.0
    table = make_table("Feature")
    table.add_column("Log-odds", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=BAR)
    for name, share in shown:
        bar = Text("▇" * round(abs(share) / largest * BAR), "green" if share > 0 else "red")
        table.add_row(Text(visible(name)), f"{share:+.2f}", bar)
    return table
