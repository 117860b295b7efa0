"""`scr detector`: fit the relevance detector's probabilities to a team's own facts and queries."""

from pathlib import Path
from typing import Annotated

import typer

from scr.cli.evaluate import progress_bar
from scr.cli.options import AsJson, FactsFile, QueriesFile, StorePath
from scr.cli.packs import check_writable
from scr.cli.render import make_console, make_table, print_json
from scr.errors import InvalidInput
from scr.settings import load_settings

app = typer.Typer(help="Fit the relevance detector to a team's own data.")

_RATES = (0.01, 0.02, 0.05, 0.1)
"""Of false fires, for which thresholds are shown."""


@app.callback()
def detector() -> None:
    """Fit the relevance detector to a team's own data."""


@app.command()
def calibrate(
    facts: FactsFile,
    queries: QueriesFile,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to write the calibration.")
    ],
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Fit the detector's probabilities to your facts and queries.

    Both files are as for `scr eval selectivity`; some queries must ask for no fact ("gold": []).
    Figures are cross-validated. Use the file by the setting `calibration`; with it,
    `max_false_fire_rate` promises its rate for queries like these. No store is read.
    """
    check_writable(out)
    from scr.detection.calibration import threshold_for
    from scr.evaluation.metrics import wilson
    from scr.evaluation.selectivity import calibrate as run

    settings = load_settings(store=store)
    with progress_bar("reading queries") as progress:
        found = run(
            facts, queries, embedder=settings.embedder, reader=settings.reader, progress=progress
        )
    found.recalibration.save(out)
    unanswered = found.recalibration.unanswered
    rates = []
    for rate in _RATES:
        try:
            threshold = threshold_for(rate, unanswered)
        except InvalidInput:  # too few queries to promise so little
            continue
        fires = wilson(sum(p >= threshold for p in unanswered), len(unanswered))
        rates.append({"rate": rate, "threshold": threshold, "low": fires.low, "high": fires.high})
    if as_json:
        before, after = (scores._asdict() for scores in (found.before, found.after))
        print_json({"file": str(out), "before": before, "after": after, "thresholds": rates})
        return
    console = make_console()
    table = make_table("", "before", "after")
    for name in ("balanced", "hit", "abstain", "auroc", "ece"):
        table.add_row(name, *(f"{getattr(s, name):.4f}" for s in (found.before, found.after)))
    console.print(table)
    table = make_table("max_false_fire_rate", "threshold", "95 % interval of the rate")
    for each in rates:
        interval = f"{each['low']:.3f} to {each['high']:.3f}"
        table.add_row(f"{each['rate']:g}", f"{each['threshold']:.3f}", interval)
    console.print(table)
    console.print(f"written to {out}; use it by SCR_CALIBRATION or `calibration` in scr.toml")
