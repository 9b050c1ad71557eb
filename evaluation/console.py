"""What the commands print: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from evaluation.progress import LINES, LineProgress

_QUIET_SECONDS = 15.0  # between two plain lines


def make_console() -> Console:
    """The terminal as it is; elsewhere (a file, a pipe) wide enough for the tables. Text is printed
    as it is: names may have brackets or colons."""
    console = Console(markup=False, emoji=False)
    return console if console.is_terminal else Console(width=120, markup=False, emoji=False)


class ConsoleProgress:
    """One bar per phase; `on_metrics` gets the numbers of an iteration.

    As a job (`echelon submit`) it prints lines, from which the sender's terminal makes the bars.
    """

    def __init__(
        self, console: Console, on_metrics: Callable[[int, Mapping[str, float]], None] | None = None
    ) -> None:
        self.console = console
        self._on_metrics = on_metrics
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._lines = LineProgress(self._print) if os.environ.get(LINES) == "1" else None
        self._task: TaskID | None = None
        self._phase, self._printed = "", 0.0

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)

    def phase(self, text: str, total: float | None = None) -> None:
        """Begin a phase."""
        if self._lines is not None:
            self._lines.phase(text, total)
            return
        if self._task is not None:
            task = self._progress.tasks[self._task]
            self._progress.update(self._task, completed=task.total or 1, total=task.total or 1)
        self._task = self._progress.add_task(text, total=total, text="")
        self._phase, self._printed = text, time.monotonic()
        if not self.console.is_terminal:
            self._print(f"{text} ...")

    def update(self, done: float, text: str = "") -> None:
        """Move the bar."""
        if self._lines is not None:
            self._lines.update(done, text)
            return
        if self._task is not None:
            self._progress.update(self._task, completed=done, text=text)
        now = time.monotonic()
        if not self.console.is_terminal and text and now - self._printed > _QUIET_SECONDS:
            self._printed = now
            self._print(f"  {self._phase}: {text}")

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Hand an iteration's numbers on."""
        if self._on_metrics is not None:
            self._on_metrics(step, values)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
