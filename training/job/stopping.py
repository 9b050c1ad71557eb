"""SIGTERM, as of a spot machine or `ray job stop`, and Ctrl-C, while a training learns.

The first signal lets the iteration end; its checkpoint is saved and the training leaves. What takes
longer than that is left as it is, and so is everything at a second signal.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from envs.errors import Interrupted
from evaluation.signals import stop_signals_to
from training.job.run_record import checkpoints_of

_LONGEST_WAIT = 8.0  # seconds until an iteration that doesn't end is left


class Stopping:
    """Whether a signal asked to stop."""

    def __init__(self) -> None:
        self._number: signal.Signals | None = None
        self._reminder: threading.Timer | None = None
        self._is_over = False

    def check(self) -> None:
        """Raises Interrupted: a signal came."""
        if self._number is not None:
            raise Interrupted(self._number)

    def on_signal(self, number: int, _: FrameType | None) -> None:
        """Note the first signal; raise at a second one, which comes by itself after a while."""
        if self._is_over:
            return
        self.check()
        self._number = signal.Signals(number)
        self._reminder = threading.Timer(_LONGEST_WAIT, os.kill, (os.getpid(), number))
        self._reminder.daemon = True
        self._reminder.start()

    def end(self) -> None:
        """From now on signals do nothing."""
        self._is_over = True
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder.join()


@contextmanager
def stopped_by_signals() -> Iterator[Stopping]:
    """Give what knows of signals while the block runs; elsewhere than in the main thread none come.

    Raises:
        Interrupted: in the block, some seconds after a signal that `check` wasn't asked about; at
            its end, where it never was.
    """
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    with stop_signals_to(stopping.on_signal):
        try:
            yield stopping
        finally:
            stopping.end()
        stopping.check()


def how_to_go_on(folder: Path) -> str:
    """Return what a run folder holds, and the line that goes on with it."""
    saved = checkpoints_of(folder).latest_good()
    held = "nothing was learned yet" if saved is None else f"iteration {saved.step} is saved"
    return f"{held}; go on with: echelon train resume={folder}."
