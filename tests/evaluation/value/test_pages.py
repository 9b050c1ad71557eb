"""Pages of results: their block is replaced, what people wrote around it stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluation.value.features import FEATURES
from evaluation.value.page import as_html
from evaluation.value.pages import BEGIN, END, write_pages
from evaluation.value.record import ClassicalPart, Entry, PolicyRecord
from evaluation.value.tables import as_markdown, costs_text
from tests.evaluation.value.test_verdict import RULE, judged, played, seed


def entry(label: str, saving: float) -> Entry:
    """A scenario in which three trainings save so much a period."""
    learned = [RULE - saving + np.array([0.01, -0.01, 0.02, -0.02]) * sign for sign in (1, -1, 1)]
    rule = PolicyRecord("base_stock", evaluations=7, validation_cost=10.0, played=played(RULE))
    classical = ClassicalPart(
        "day", "EUR", dict.fromkeys(FEATURES, 0.0), (rule,), "base_stock", "base_stock", traces=4,
        seed=1, bound_traces=2,
    )  # fmt: skip
    seeds = tuple(seed(i, costs) for i, costs in enumerate(learned))
    return Entry(label, classical, seeds, judgement=judged(learned))


def test_a_page_keeps_what_people_wrote(tmp_path: Path) -> None:
    """Text before and after the block; the block itself is the newest."""
    page = tmp_path / "shop.md"
    page.write_text(f"# shop\n\nBefore.\n\n{BEGIN}\nold numbers\n{END}\n\nAfter.\n")
    write_pages(tmp_path, [entry("shop", 1.0)], "echelon report seed=7", "2026-11-29", {})
    text = page.read_text()
    assert text.startswith("# shop\n\nBefore.\n")
    assert text.endswith("\nAfter.\n")
    assert "old numbers" not in text
    assert "echelon report seed=7" in text
    assert "Measured 2026-11-29. Costs in EUR per day." in text
    assert text.count(BEGIN) == text.count(END) == 1


def test_the_index_holds_every_page(tmp_path: Path) -> None:
    """Also those that an earlier report wrote; a scenario without a verdict has no page."""
    write_pages(tmp_path, [entry("shop", 1.0)], "first", "2026-11-28", {})
    written = write_pages(
        tmp_path, [entry("plant", 0.0), Entry("broken", error="why")], "second", "2026-11-29", {}
    )
    assert [page.name for page in written] == ["plant.md"]
    index = (tmp_path / "README.md").read_text()
    rows = [line for line in index.splitlines() if line.startswith("| [")]
    assert [row.split(" | ")[0] for row in rows] == ["| [plant](plant.md)", "| [shop](shop.md)"]
    assert rows[0].endswith(" 2026-11-29 |")
    assert "use learning" in rows[1]


def test_what_costs_are_counted_in_is_said_once() -> None:
    """At the top, for each unit; with the date of period 0 where there is one."""
    shop, mine = entry("shop", 1.0), entry("mine", 1.0)
    assert costs_text([shop, mine, Entry("broken", error="why")]) == "Costs in EUR per day."
    assert mine.classical is not None
    dollars = replace(mine.classical, currency="USD", start_date="2024-01-01")
    other = replace(mine, classical=dollars)
    text = "Costs in EUR per day: shop. Costs in USD per day; day 0 is Monday 2024-01-01: mine."
    assert costs_text([shop, other]) == text
    assert as_markdown([shop, other], None, {}).splitlines()[2] == text
    page = as_html([shop, other], None, {}, {})
    assert page.index(text) < page.index("<table>")


def test_a_page_without_a_block_gets_one_at_its_end(tmp_path: Path) -> None:
    """As the first report on a scenario that has a page already."""
    (tmp_path / "shop.md").write_text("# shop\n\nBy hand.\n")
    write_pages(tmp_path, [entry("shop", 1.0)], "echelon report", "2026-11-29", {})
    text = (tmp_path / "shop.md").read_text()
    assert text.index("By hand.") < text.index(BEGIN) < text.index(END)
