"""What a run records, on its own disk first.

``metrics.jsonl``, ``system_metrics.jsonl`` and ``tracking_events.jsonl`` only grow;
``tracking_state.json`` says up to which byte of each the server has confirmed. All of it is on the
disk before anything is sent. So nothing is lost with the process, or the machine's power, and a
later process goes on where this one stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.errors import ConfigError, EchelonError
from evaluation.files.atomic_folder import make_folder
from evaluation.files.json_lines import JsonLines, read_lines
from evaluation.files.sealed_json import read_sealed, write_sealed

EVENTS = "tracking_events.jsonl"
_STATE = "tracking_state.json"
_RECORDS_AT_ONCE = 200


class RecordLog(JsonLines):
    """Records that wait in memory while the disk refuses them, and are written with the next."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._waiting: list[Mapping[str, Any]] = []

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line; where OSError is raised, it is added by the next call that finds room."""
        self._waiting.append(record)
        self.catch_up()

    def catch_up(self) -> None:
        """Write what waits. Raises OSError where the disk still refuses."""
        while self._waiting:
            first = self._waiting.pop(0)
            try:
                super().append(first)
            except OSError:
                self._waiting.insert(0, first)
                raise


class MetricsLog(RecordLog):
    """``metrics.jsonl``: {"step": ..., "time": seconds since 1970, "metrics": {...}} per line.

    JSON has no NaN or infinity: they are the texts "nan", "inf", "-inf".
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        # A resumed run goes over the steps since its last checkpoint again. What was recorded
        # first stays: then no step is there twice, here or at the tracking server.
        self._last: dict[str, int] = {}
        for record in read_lines(path)[0]:
            for name in record["metrics"]:
                self._last[name] = max(record["step"], self._last.get(name, -1))

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append the metrics of a step, less those an earlier process recorded already."""
        values = {n: float(v) for n, v in metrics.items() if step > self._last.get(n, -1)}
        new = {n: value if math.isfinite(value) else str(value) for n, value in values.items()}
        if new:
            self.append({"step": int(step), "time": time.time(), "metrics": new})

    @property
    def next_step(self) -> int:
        """The first step that no earlier process recorded a metric of."""
        return 1 + max(self._last.values(), default=-1)


class Outbox:
    """The files of one run folder; one process at a time has them open.

    state: what has to outlast the process.
        key: of the run: what it is looked up by at the server.
        run_id, versions: MLflow's.
        sent: bytes of each file that the server has confirmed.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.folder = folder
        self._lock = (folder / "tracking.lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            self._lock.close()
            raise ConfigError(
                f"Run folder '{folder}' is in use by a live process; expected one run per folder. "
                "Wait for it to end, or choose another folder."
            ) from problem
        self.metrics = MetricsLog(folder / "metrics.jsonl")
        self.system_metrics = MetricsLog(folder / "system_metrics.jsonl")
        self.events = RecordLog(folder / EVENTS)
        self.logs = (self.metrics, self.system_metrics, self.events)
        self.state = {"sent": {}, **read_state(folder)}
        for log in self.logs:  # what is no longer there, damaged or cut, was not sent
            self.state["sent"][log.path.name] = min(self.sent(log), log.size)

    def pending(self) -> tuple[JsonLines, list[dict[str, Any]], int] | None:
        """The records to send next, their file, and the byte that `confirm` is called with.

        Metrics go first, once the run exists: no upload, nor the end of the run, holds them up.
        Only what is on the disk goes: what a server has and a resumed run doesn't know would be
        recorded, and sent, once more.
        """
        for log in self.logs if "run_id" in self.state else (self.events,):
            begin = self.sent(log)
            limit = 1 if log is self.events else _RECORDS_AT_ONCE
            records, end = read_lines(log.path, begin, limit, log.size)
            if end > begin:
                return log, records, end
        return None

    def sent(self, log: JsonLines) -> int:
        """Bytes of this file that the server has confirmed."""
        return int(self.state["sent"].get(log.path.name, 0))

    def run_key(self) -> str:
        """Return the key of the run, kept here and in the events: damage to one of them makes no
        second run."""
        if "key" not in self.state:
            self.state["key"] = secrets.token_hex(16)
            with contextlib.suppress(OSError):  # a full disk: then the events alone say it
                write_sealed(self.folder / _STATE, self.state)
        return str(self.state["key"])

    def confirm(self, log: JsonLines, end: int) -> None:
        """Note that everything before this byte was sent."""
        self.state["sent"][log.path.name] = end
        write_sealed(self.folder / _STATE, self.state)

    def count_pending(self) -> int:
        """Records not yet sent."""
        return sum(len(read_lines(log.path, self.sent(log))[0]) for log in self.logs)

    def close(self) -> None:
        for file in (*self.logs, self._lock):
            file.close()


def read_state(folder: Path) -> dict[str, Any]:
    """What is known at the server of this run folder; see `Outbox`."""
    try:
        return read_sealed(folder / _STATE)
    except EchelonError:
        return {}  # or damaged: everything is sent again, which changes nothing at the server
