"""A decision of the gate, and what is written of it: JSON, a page, and lines for the screen."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from evaluation.files.atomic_folder import write_file
from evaluation.gate.checks import Check, Verdict, failed

_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Decision:
    """What the gate found. against: the champion's version; None: there is none yet.

    seed, traces: of the comparison; None where nothing was played.
    """

    model: str
    version: str
    against: str | None
    checks: tuple[Check, ...]
    seed: int | None = None
    traces: int | None = None

    @property
    def passed(self) -> bool:
        """Whether no check failed, and one passed."""
        verdicts = {check.verdict for check in self.checks}
        return Verdict.passed in verdicts and Verdict.failed not in verdicts

    @property
    def verdict(self) -> str:
        """In one line."""
        against = "the tuned rule" if self.against is None else f"version {self.against}"
        if self.passed:
            return f"passed against {against}"
        if names := failed(self.checks):
            return f"failed against {against}: {', '.join(names)}"
        return "not decided"


def undecided(model: str, version: str, why: str) -> Decision:
    """Return what is kept where nobody could judge."""
    return Decision(model, version, None, (Check("comparison", Verdict.no_evidence, None, why),))


def as_json(decision: Decision) -> dict[str, Any]:
    """Return plain data, every number finite."""
    return {
        "schema_version": _SCHEMA_VERSION, **asdict(decision),
        "passed": decision.passed, "verdict": decision.verdict,
    }  # fmt: skip


def as_markdown(decision: Decision) -> str:
    """Return the page."""
    played = "Nothing was played."
    if decision.traces is not None:
        played = f"Played: {decision.traces} fresh traces, seed {decision.seed}."
    rows = [
        f"| {check.name} | {_figure(check)} | {check.verdict} | {check.reason} |"
        for check in decision.checks
    ]
    return "\n".join(
        [
            f"# {decision.model} version {decision.version}: {decision.verdict}",
            "",
            played,
            "",
            "| check | figure | verdict | reason |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def write_page(decision: Decision, folder: Path) -> list[Path]:
    """Write gate.json and gate.md; returns their paths."""
    paths = [folder / "gate.json", folder / "gate.md"]
    text = json.dumps(as_json(decision), indent=1, allow_nan=False)
    for path, content in zip(paths, (text + "\n", as_markdown(decision)), strict=True):
        write_file(path, content.encode())
    return paths


def as_table(decision: Decision) -> Table:
    """Return the checks that say something, for the screen."""
    table = Table(title=f"Gate: {decision.verdict}", title_justify="left")
    for heading in ("check", "figure", "verdict", "reason"):
        table.add_column(heading, justify="right" if heading == "figure" else "left")
    for check in decision.checks:
        if check.verdict is not Verdict.no_evidence or check.figure is not None:
            table.add_row(check.name, _figure(check), check.verdict, check.reason)
    if waiting := [c for c in decision.checks if c.verdict is Verdict.no_evidence]:
        names = ", ".join(check.name for check in waiting)
        table.caption = f"No evidence yet, which doesn't block: {names}."
        table.caption_justify = "left"
    return table


def _figure(check: Check) -> str:
    return "" if check.figure is None else f"{check.figure:+.2%}"
