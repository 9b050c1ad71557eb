"""`echelon verify`: run the literature's cases again, and print what was expected and what came."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text

from conf.compose import CommandConfig, Composed, compose_runs
from evaluation.console import ConsoleProgress, make_console
from evaluation.files.atomic_folder import write_file
from evaluation.files.table_rows import without_formula
from evaluation.verify.case import Row, load_cases
from evaluation.verify.run import chosen, verify

_STYLE = {
    "failed": "bold red",
    "differs": "bold red",
    "agrees": "green",
    "not run": "yellow",
    "shown": "",
}


@dataclass(frozen=True)
class VerifyCommand(CommandConfig):
    """`echelon verify`. cases: a file; None: the ones that ship."""

    name: ClassVar = "verify"
    cases: str | None
    families: list[str]
    ids: list[str]
    fast: bool
    out: str | None


def verify_command(argv: list[str]) -> int:
    """Run the command; returns the exit code: 1 where a judged number differs or can't be run."""
    return max(_run(composed) for composed in compose_runs(VerifyCommand, argv))


def _run(composed: Composed[VerifyCommand]) -> int:
    command, console = composed.command, make_console()
    cases = load_cases(None if command.cases is None else Path(command.cases))
    selected = chosen(cases, list(command.families), list(command.ids), command.fast)
    rows: list[Row] = []
    with ConsoleProgress(console) as progress:
        progress.phase("verify", len(selected))
        for done, case in enumerate(selected):
            progress.update(done, case.id)
            rows += verify(case)
        progress.update(len(selected), "done")
    composed.write()
    _write(rows, composed.folder)
    console.print(verify_table(rows))
    count = Counter(row.verdict for row in rows)
    counts = ", ".join(f"{count[verdict]} {verdict}" for verdict in _STYLE if count[verdict])
    console.print(f"{len(selected)} cases, {len(rows)} numbers: {counts}.", highlight=False)
    console.print(f"Wrote {composed.folder}/verify.json and verify.csv.", highlight=False,
                  soft_wrap=True)  # fmt: skip
    return 1 if count["differs"] or count["failed"] else 0


def verify_table(rows: list[Row]) -> Table:
    """Return a line per number."""
    table = Table(title="Agreement with the literature", title_justify="left")
    for heading in ("case", "quantity"):
        table.add_column(heading, overflow="fold")
    for heading in ("expected", "got", "difference", "allowed", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("verdict", overflow="fold")
    for row in rows:
        both = row.expected is not None and row.got is not None
        difference = row.got - row.expected if both else None  # type: ignore[operator]
        numbers = (row.expected, row.got, difference, row.tolerance)
        cells = ["" if x is None else f"{x:,.5g}" for x in numbers]
        cells[:2] = ["" if x is None else f"{x:,.4f}" for x in numbers[:2]]
        verdict = row.verdict if not row.note else f"{row.verdict}: {row.note}"
        style = _STYLE[row.verdict]
        table.add_row(row.case, row.quantity, *cells, f"{row.seconds:.1f}",
                      Text(verdict, style))  # fmt: skip
    return table


def _write(rows: list[Row], folder: Path) -> None:
    entries = [{**asdict(row), "verdict": row.verdict} for row in rows]
    write_file(folder / "verify.json", json.dumps(entries, indent=1).encode())
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(entries[0]) if entries else ["case"])
    writer.writeheader()
    writer.writerows(
        {name: without_formula(x) if isinstance(x, str) else x for name, x in entry.items()}
        for entry in entries
    )
    write_file(folder / "verify.csv", text.getvalue().encode())
