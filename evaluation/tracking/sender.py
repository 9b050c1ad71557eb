"""One background thread that sends what a run recorded to a server that may be slow or gone.

A record whose delivery was not confirmed is sent again, equal to the last digit: the destination
takes the same record twice as one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from envs.redact import redact
from evaluation.files.json_lines import JsonLines
from evaluation.tracking.mlflow_destination import MlflowDestination, Refused
from evaluation.tracking.outbox import Outbox

_LONGEST_PAUSE = 30.0  # seconds between attempts
_PAUSE_IN_A_HURRY = 0.5  # seconds, while the caller waits
_LONGEST_START = 60.0  # seconds: importing MLflow, migrating a new local database
_LONGEST_WAIT = 300.0  # seconds, however well it goes

_log = logging.getLogger(__name__)


class Sender:
    """Empties the outbox; recording never waits for it."""

    def __init__(self, outbox: Outbox, destination: MlflowDestination) -> None:
        self._outbox = outbox
        self._destination = destination
        self._news = threading.Event()
        self._hurry = threading.Event()
        self._stopped = False
        self._confirming = threading.Lock()
        self._last_success = time.monotonic()
        # A daemon: a server that never answers can't keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._news.set()

    def wait(self, logs: Sequence[JsonLines], timeout: float) -> None:
        """Wait until the files are sent, at most ``timeout`` seconds after the last success."""
        ends = [(log, log.size) for log in logs]

        def is_sent() -> bool:
            return all(self._outbox.sent(log) >= end for log, end in ends)

        if is_sent():
            return
        self._hurry.set()
        self._destination.opened.wait(_LONGEST_START)
        begin = now = time.monotonic()
        while not is_sent() and now < min(
            max(begin, self._last_success) + timeout, begin + _LONGEST_WAIT
        ):
            time.sleep(0.02)
            now = time.monotonic()
        self._hurry.clear()

    def close(self, timeout: float) -> int:
        """Wait, then send nothing more; returns the number of records left.

        A request in flight is left to itself, its outcome ignored.
        """
        self.wait(self._outbox.logs, timeout)
        with self._confirming:
            self._stopped = True
        self._news.set()
        self._hurry.set()
        self._thread.join(timeout=0.2)
        return self._outbox.count_pending()

    def _run(self) -> None:
        failures = 0
        while not self._stopped:
            self._news.clear()
            try:
                batch = self._outbox.pending()
                if batch is not None:
                    log, records, end = batch
                    self._send(records)
                    with self._confirming:
                        if not self._stopped:  # else another process may have the files by now
                            self._outbox.confirm(log, end)
                    self._last_success = time.monotonic()
                failures = 0
            except Exception as problem:  # whatever it is, the run goes on
                failures += 1
                if failures == 1:
                    _log.warning(
                        f"Tracking: no delivery ({_one_line(problem)}). Records wait in "
                        f"'{self._outbox.folder}'; trying again."
                    )
                if self._hurry.wait(min(2.0 ** (failures - 1), _LONGEST_PAUSE)):
                    time.sleep(_PAUSE_IN_A_HURRY)
                continue
            if batch is None:
                self._news.wait()

    def _send(self, records: list[dict[str, Any]]) -> None:
        try:
            if records:
                self._destination.send(records, self._outbox.state)
        except Refused as problem:
            if len(records) > 1:  # find the refused one
                for record in records:
                    self._send([record])
            else:
                kind = records[0].get("kind", "metrics")
                _log.warning("Tracking: '%s' was refused: %s", kind, _one_line(problem))


def _one_line(problem: Exception) -> str:
    text = " ".join(redact(str(problem)).split()) or type(problem).__name__
    return text if len(text) <= 300 else text[:297] + "..."
