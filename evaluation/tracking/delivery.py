"""Deliver what a run recorded, in the background, to a server that may be slow or gone.

The files of the run folder are the queue: ``metrics.jsonl``, ``system_metrics.jsonl`` and
``tracking_events.jsonl`` grow, ``tracking_state.json`` says up to which byte each was delivered.
So nothing is lost with the process, and a later process goes on where this one stopped. A record
whose delivery was not confirmed is sent again, equal to the last digit: the destination must
take the same record twice as one.
"""

from __future__ import annotations

import fcntl
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from envs.errors import ConfigError
from evaluation.files.atomic_folder import write_file
from evaluation.files.redact import redact
from evaluation.tracking.metrics_log import JsonLines, MetricsLog, MetricsRecord, parse_metrics

__all__ = ["Courier", "Destination", "Outbox", "Undeliverable", "read_state"]

_STATE = "tracking_state.json"
_RECORDS_PER_DELIVERY = 200
_LONGEST_PAUSE = 30.0  # seconds between attempts
_PAUSE_WHEN_CLOSING = 0.5  # seconds
_START_UP_ALLOWANCE = 60.0  # seconds: importing MLflow, migrating a new local database
_LONGEST_DRAIN = 300.0  # seconds, however well it goes

_log = logging.getLogger(__name__)


class Undeliverable(Exception):
    """The destination will never take this record: drop it and go on."""


class Destination(Protocol):
    """Where records go; every method may block for a while and may raise anything."""

    def open(self) -> None:
        """Import and set up; no network."""

    def event(self, event: dict[str, Any], state: dict[str, Any]) -> None:
        """Deliver one event; ``state`` is kept between processes."""

    def metrics(self, records: list[MetricsRecord], state: dict[str, Any]) -> None:
        """Deliver the metrics of some steps."""


class Outbox:
    """The files of one run folder; one process at a time has them open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_file(folder / "tracking.lock")
        self.events = JsonLines(folder / "tracking_events.jsonl")
        self.metrics = MetricsLog(folder / "metrics.jsonl")
        self.system_metrics = MetricsLog(folder / "system_metrics.jsonl")
        self.state = read_state(folder)
        self.state.setdefault("delivered", {})

    def pending(self, log: JsonLines, limit: int) -> list[tuple[dict[str, Any], int]]:
        """The next undelivered records, each with the offset to confirm."""
        return log.read(self.delivered(log), limit)

    def confirm(self, log: JsonLines, offset: int) -> None:
        self.state["delivered"][log.path.name] = offset
        write_file(self.folder / _STATE, json.dumps(self.state, indent=2).encode())

    def count_pending(self) -> int:
        """Records not yet delivered."""
        logs = (self.events, self.metrics, self.system_metrics)
        return sum(len(self.pending(log, 1 << 62)) for log in logs)

    def is_empty(self) -> bool:
        logs = (self.events, self.metrics, self.system_metrics)
        return all(self.delivered(log) >= log.size for log in logs)

    def close(self) -> None:
        for log in (self.events, self.metrics, self.system_metrics):
            log.close()
        self._lock.close()

    def delivered(self, log: JsonLines) -> int:
        """Bytes of this log that the destination has confirmed."""
        return int(self.state["delivered"].get(log.path.name, 0))


class Courier:
    """One background thread that empties the outbox; the caller never waits for it."""

    def __init__(self, outbox: Outbox, destination: Destination) -> None:
        self._outbox = outbox
        self._destination = destination
        self._changed = threading.Condition()
        self._news = True
        self._closing = False
        self._stopped = False
        self._failed = False  # to deliver, at the last attempt
        self.opened = threading.Event()  # the destination is open, MLflow imported
        self._last_progress = time.monotonic()
        self._confirming = threading.Lock()
        # A daemon: a server that never answers can't keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox."""
        with self._changed:
            self._news = True
            self._changed.notify_all()

    def wait_until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Wait until ``done()``, at most ``timeout`` seconds after the last progress."""
        begin = time.monotonic()
        with self._changed:
            self._closing = self._news = True
            self._changed.notify_all()
            try:
                while not done():
                    idle_since = max(begin, self._last_progress)
                    allowance = (
                        timeout if self.opened.is_set() else max(timeout, _START_UP_ALLOWANCE)
                    )
                    limit = min(idle_since + allowance, begin + _LONGEST_DRAIN)
                    left = limit - time.monotonic()
                    if left <= 0 or not self._thread.is_alive():
                        return done()
                    self._changed.wait(min(left, 0.2))
                return True
            finally:
                self._closing = False

    def stop(self) -> None:
        """Deliver nothing more; a request in flight is left to itself, its outcome ignored."""
        with self._changed, self._confirming:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(timeout=0.2)

    def _work(self) -> None:
        failures = 0
        while not self._stopped:
            try:
                if not self.opened.is_set():
                    self._destination.open()
                    self.opened.set()
                    self._progress()
                if self._deliver_some():
                    if failures:
                        _log.info("Tracking: the server answers again.")
                    failures = 0
                    self._failed = False
                    self._progress()
                    continue
            except Exception as problem:  # whatever it is, the run goes on
                failures += 1
                self._failed = True
                if failures == 1:
                    _log.warning(
                        "Tracking: no delivery (%s). Records wait in '%s'; trying again.",
                        _one_line(problem),
                        self._outbox.folder,
                    )
                self._pause(failures)
                continue
            with self._changed:
                self._changed.wait_for(lambda: self._news or self._stopped)
                self._news = False

    def _deliver_some(self) -> bool:
        """Once the run is there, metrics go first: no event, the end included, holds them up."""
        outbox = self._outbox
        if "run_id" in outbox.state:
            for log in (outbox.metrics, outbox.system_metrics):
                if records := outbox.pending(log, _RECORDS_PER_DELIVERY):
                    self._deliver_metrics(log, records)
                    return True
        events = outbox.pending(outbox.events, 1)
        if events:
            self._deliver_event(*events[0])
        return bool(events)

    def _deliver_event(self, event: dict[str, Any], offset: int) -> None:
        try:
            if event:
                self._destination.event(event, self._outbox.state)
        except Undeliverable as problem:
            _log.warning("Tracking: '%s' was refused: %s", event.get("kind"), _one_line(problem))
        self._confirm(self._outbox.events, offset)

    def _deliver_metrics(self, log: JsonLines, records: list[tuple[dict[str, Any], int]]) -> None:
        parsed = [(parse_metrics(record), offset) for record, offset in records if record]
        state = self._outbox.state
        try:
            self._destination.metrics([record for record, _ in parsed], state)
        except Undeliverable:  # find the record that spoils the batch
            for record, offset in parsed:
                try:
                    self._destination.metrics([record], state)
                except Undeliverable as problem:
                    _log.warning(
                        "Tracking: the metrics of step %d were refused (%s); they stay in '%s'.",
                        record.step,
                        _one_line(problem),
                        log.path,
                    )
                self._confirm(log, offset)
        self._confirm(log, records[-1][1])

    def _confirm(self, log: JsonLines, offset: int) -> None:
        with self._confirming:
            if not self._stopped:  # else another process may have the files by now
                self._outbox.confirm(log, offset)

    def _progress(self) -> None:
        with self._changed:
            self._last_progress = time.monotonic()
            self._changed.notify_all()

    def _pause(self, failures: int) -> None:
        until = time.monotonic() + min(2.0 ** (failures - 1), _LONGEST_PAUSE)
        with self._changed:
            while not self._stopped and (left := until - time.monotonic()) > 0:
                self._changed.wait(min(left, _PAUSE_WHEN_CLOSING))
                if self._closing:
                    return


def read_state(folder: Path) -> dict[str, Any]:
    """What was delivered, and as which MLflow run (``run_id``)."""
    try:
        return dict(json.loads((folder / _STATE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except ValueError as problem:
        # Everything is sent again, and taken as the same: see the module's first lines.
        _log.warning("File '%s' is damaged (%s): delivering from the start.", _STATE, problem)
        return {}


def _lock_file(path: Path) -> IO[bytes]:
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        file.close()
        raise ConfigError(
            f"Run folder '{path.parent}' is in use by a live process; expected one run per "
            "folder. Wait for it to end, or choose another folder."
        ) from problem
    return file


def _one_line(problem: Exception) -> str:
    text = " ".join(redact(str(problem)).split()) or type(problem).__name__
    return text if len(text) <= 300 else text[:297] + "..."
