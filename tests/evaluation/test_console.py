"""What commands print."""

from __future__ import annotations

import pytest
from rich.table import Table

from evaluation.commands.verify import verify_table
from evaluation.console import ConsoleProgress, make_console
from evaluation.verify.case import Row

NAMES = ["[/x]", "[red]x", "a:b:c", "tea\\[1]"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In tables, lines and phases: brackets are no styles, colons no pictures."""
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    console = make_console()
    with ConsoleProgress(console) as progress:
        progress.phase(name)
    console.print(table)
    console.print(verify_table([Row(name, "family", name, note=name, failed=True)]))
    assert capsys.readouterr().out.count(name) == 7
