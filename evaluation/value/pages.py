"""Results as pages for readers: one Markdown file a scenario, and an index of them.

A page belongs to its authors, but for the block between `BEGIN` and `END`: `write_pages` replaces
it, and adds it to a page without one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.comparison.units import in_words
from evaluation.files.atomic_folder import write_file
from evaluation.value.record import Entry, folder_name
from evaluation.value.tables import HEADINGS, markdown_table, money, row_of

BEGIN = "<!-- written by `echelon report`; change what is outside of this block -->"
END = "<!-- end of what `echelon report` wrote -->"
_INDEX = "README.md"
_HEADINGS = (*HEADINGS[1:], "date")


def write_pages(
    folder: Path, entries: Sequence[Entry], command: str, date: str, facts: Mapping[str, str]
) -> list[Path]:
    """Write the pages of all scenarios that have a verdict, and the index of the folder.

    Args:
        folder: of the pages; made where it does not exist.
        entries: the report's scenarios; those without a verdict are left out.
        command: what to type to get the same numbers.
        date: ISO date of the measurement.
        facts: settings of the measurement, name -> text.

    Returns:
        The pages that were written, without the index.
    """
    written = []
    for entry in entries:
        if entry.judgement is None:
            continue
        page = folder / f"{folder_name(entry.label)}.md"
        _put(page, f"# {entry.label}: results", _block(entry, command, date, facts))
        written.append(page)
    if written:
        _put(folder / _INDEX, "# Results", _index(folder))
    return written


def _put(page: Path, title: str, block: str) -> None:
    """Replace a page's block, or append it."""
    text = page.read_text(encoding="utf-8") if page.exists() else f"{title}\n"
    whole = f"{BEGIN}\n{block}\n{END}"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    text = f"{before}{whole}{after}" if begin and end else f"{text.rstrip()}\n\n{whole}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_file(page, text.encode())


def _block(entry: Entry, command: str, date: str, facts: Mapping[str, str]) -> str:
    classical = entry.classical
    assert classical is not None
    rules = [
        (p.name, money(p.played.cost), f"{p.played.fill_rate:.1%}", str(p.evaluations))
        for p in sorted(classical.policies, key=lambda p: p.validation_cost)
        if p.played is not None
    ]
    seeds = [
        (f"seed {s.seed}", money(s.played.cost), f"{s.played.fill_rate:.1%}",
         f"{s.best_iteration} of {s.iterations}")
        for s in entry.seeds
    ]  # fmt: skip
    settings = "; ".join(f"{name}: {text}" for name, text in facts.items())
    return "\n".join(
        [
            markdown_table(_HEADINGS, [(*row_of(entry)[1:], date)]),
            f"```\n{command}\n```\n",
            f"Measured {date}. {in_words(classical)}.",
            f"{settings[:1].upper()}{settings[1:]}.\n",
            markdown_table(("rule", "test cost", "fill rate", "parameter sets tried"), rules),
            markdown_table(
                ("training", "test cost", "fill rate", "iteration chosen"), seeds
            ).rstrip(),
        ]
    )


def _index(folder: Path) -> str:
    """One row per page: the first table row of its block."""
    rows = []
    for page in sorted(folder.glob("*.md")):
        block = page.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
        found = re.search(r"^\| ---.*\n\| (.*) \|$", block, re.M)
        if found and page.name != _INDEX:
            rows.append((f"[{page.stem}]({page.name})", *found[1].split(" | ")))
    return markdown_table(("scenario", *_HEADINGS), rows).rstrip()
