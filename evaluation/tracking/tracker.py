"""Tracking that never holds up or ends a run.

Everything is written to the run folder first (``metrics.jsonl``, ``tracking_events.jsonl``) and
delivered to MLflow from there by a background thread. Whatever could not be delivered when the
run ends stays there: ``replay`` delivers it later.

    with Tracker(config, run_folder) as tracker:
        tracker.start("beer_game seed 3", params=flat, tags={}, config=resolved)
        tracker.log_metrics(step, {"return/mean": -3.1})
        tracker.log_artifacts(run_folder / "policy", "policy")
        version = tracker.register_model("beer_game", run_folder / "policy", alias="champion")
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - MLflow needs it, and at exit it's too late to import
import contextlib
import logging
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import yaml

from envs.errors import ConfigError
from evaluation.files.redact import redact, redact_tree
from evaluation.tracking.delivery import Courier, Outbox
from evaluation.tracking.mlflow_destination import MlflowDestination, TrackingConfig, system_sampler

__all__ = ["Status", "Tracker", "replay"]

Status = Literal["FINISHED", "FAILED", "KILLED"]

_log = logging.getLogger(__name__)


class Tracker:
    """One tracked run. No method waits for the server, save register_model and finish, briefly.

    A second Tracker on the folder of an ended run goes on with the same MLflow run.
    """

    def __init__(
        self, config: TrackingConfig, run_folder: Path, *, parent: Path | None = None
    ) -> None:
        self._config = config
        self.folder = Path(run_folder).absolute()
        self._parent = parent
        self._outbox = Outbox(self.folder)
        self._courier = Courier(self._outbox, MlflowDestination(config))
        self._stop_sampling = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="system metrics", daemon=True)
        self._started = self._finished = False
        self._disk_refused = False

    def start(
        self,
        run_name: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin. ``params`` is flat; ``config``, the resolved one, is kept as ``config.yaml``."""
        self._started = True
        self._event(
            "start",
            name=run_name,
            params={key: str(value) for key, value in redact_tree(dict(params or {})).items()},
            tags=redact_tree(dict(tags or {})),
            key=secrets.token_hex(16),
            parent=None if self._parent is None else str(self._parent),
            uri=redact(self._config.uri),
            experiment=self._config.experiment,
        )
        if config is not None:
            path = self.folder / "config.yaml"
            with self._never_fatal():
                text = yaml.safe_dump(redact_tree(dict(config)), sort_keys=False)
                path.write_text(text, encoding="utf-8")
                self.log_artifacts(path)
        atexit.register(self._at_exit)
        if self._config.enabled:
            self._courier.start()
            if self._config.system_metrics:
                self._sampler.start()

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of one step, once; ``group/name`` makes a section in MLflow."""
        with self._never_fatal():
            self._outbox.metrics.record(step, metrics)
        self._courier.wake()

    def log_artifacts(self, path: Path, name: str | None = None) -> None:
        """A file or folder that stays where it is; ``name`` is its folder in MLflow."""
        self._event("artifact", path=str(Path(path).absolute()), name=name)

    def log_figure_file(self, path: Path) -> None:
        """A picture, under ``figures`` in MLflow."""
        self.log_artifacts(path, "figures")

    def log_dataset(self, name: str, digest: str, source: str, context: str = "training") -> None:
        """Which data was used, with its hash."""
        self._event("dataset", name=name, digest=digest, source=redact(source), context=context)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add tags to the run."""
        self._event("tags", tags=redact_tree(dict(tags)))

    def register_model(self, name: str, folder: Path, alias: str | None = None) -> str | None:
        """Register the folder as a version of the model and give it the alias.

        Waits for the server, at most ``flush_timeout`` without progress. Returns the version;
        None when the server did not take it (yet): ``replay`` does it later.
        """
        identity = secrets.token_hex(16)
        folder = Path(folder).absolute()
        self._event(
            "register",
            name=name,
            path=str(folder),
            # A folder of its own: the files of a version never change again.
            artifact=f"{folder.name}_{identity[:8]}",
            alias=alias,
            id=identity,
        )
        if not self._config.enabled or not self._started or self._finished:
            return None
        end = self._outbox.events.size
        self._courier.wait_until(
            lambda: self._outbox.delivered(self._outbox.events) >= end, self._config.flush_timeout
        )
        version: str | None = self._outbox.state.get("versions", {}).get(identity)
        if version is None:
            _log.warning("Tracking: model '%s' is not registered: see the lines before.", name)
        return version

    def child(self, name: str) -> Tracker:
        """A run of its own below this one, in the folder ``name`` of this run's folder."""
        return Tracker(self._config, self.folder / name, parent=self.folder)

    @property
    def run_id(self) -> str | None:
        """The MLflow run, once the server has made it."""
        return self._outbox.state.get("run_id")

    def finish(self, status: Status = "FINISHED") -> None:
        """End the run; waits for delivery, at most ``flush_timeout`` without progress."""
        if self._finished:
            return
        self._finished = True
        atexit.unregister(self._at_exit)
        self._stop_sampling.set()
        if self._started:
            if self._sampler.is_alive():
                self._sampler.join(timeout=1.0)
            self._event("finish", status=status)
        if self._started and self._config.enabled:
            self._courier.wait_until(self._outbox.is_empty, self._config.flush_timeout)
            self._courier.stop()
            if left := self._outbox.count_pending():
                _log.warning(
                    "Tracking: %d records did not reach %s; nothing is lost, they are in '%s'. "
                    "When the server is back: python -m evaluation.tracking.tracker '%s'",
                    left,
                    redact(self._config.uri),
                    self.folder,
                    self.folder,
                )
        self._outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish("FINISHED")
        else:
            self.finish("FAILED" if issubclass(kind, Exception) else "KILLED")

    def _at_exit(self) -> None:
        """The process ends without finish(): after an uncaught error, or by sys.exit."""
        self.finish("FAILED" if hasattr(sys, "last_value") else "KILLED")

    def _event(self, kind: str, **fields: Any) -> None:
        with self._never_fatal():
            self._outbox.events.append({"kind": kind, "time": time.time(), **fields})
        self._courier.wake()

    @contextlib.contextmanager
    def _never_fatal(self) -> Iterator[None]:
        """A full disk, or a value that is no number, is a warning: no reason to end a run."""
        try:
            yield
        except (OSError, TypeError, ValueError, yaml.YAMLError) as problem:
            if not self._disk_refused:
                self._disk_refused = True
                _log.warning(
                    "Tracking: not recorded in '%s' (%s). The run goes on.", self.folder, problem
                )

    def _sample(self) -> None:
        log = self._outbox.system_metrics
        self._courier.opened.wait()  # MLflow is imported once, in the courier's thread
        with contextlib.suppress(Exception):  # gauges differ by machine: better none than a stop
            sample = system_sampler()
            sample()  # the first processor reading has nothing to compare with
            step = 0
            while not self._stop_sampling.wait(self._config.system_metrics_interval):
                values = sample()
                step = step or 1 + max((log.last_step(name) for name in values), default=-1)
                log.record(step, values)
                step += 1
                self._courier.wake()


def replay(run_folder: Path, config: TrackingConfig | None = None) -> int:
    """Deliver what an ended run left undelivered, and return the number of records that remain.

    A run whose process was killed is closed as KILLED. ``config`` is needed where the tracking
    address holds a password, which no file has. Raises ConfigError when there is nothing to
    replay, or the run is still alive.
    """
    run_folder = Path(run_folder).absolute()
    if not (run_folder / "tracking_events.jsonl").exists():
        raise ConfigError(
            f"Folder '{run_folder}' has no tracking_events.jsonl; expected the folder of a run. "
            "Check the path."
        )
    outbox = Outbox(run_folder)
    try:
        events = [event for event, _ in outbox.events.read(0, 1 << 62) if event]
        if not events:
            return 0
        if config is None:
            start = next(event for event in events if event["kind"] == "start")
            if "***" in start["uri"]:
                raise ConfigError(
                    f"The tracking address of '{run_folder}' held a password, which is not kept. "
                    "Give replay() a TrackingConfig with the whole address."
                )
            config = TrackingConfig(uri=start["uri"], experiment=start["experiment"])
        if [event["kind"] for event in events if event["kind"] in ("start", "finish")][
            -1
        ] == "start":
            outbox.events.append({"kind": "finish", "time": time.time(), "status": "KILLED"})
        courier = Courier(outbox, MlflowDestination(config))
        courier.start()
        courier.wait_until(outbox.is_empty, config.flush_timeout)
        courier.stop()
        return outbox.count_pending()
    finally:
        outbox.close()


if __name__ == "__main__":
    remaining = [replay(Path(folder)) for folder in sys.argv[1:]]
    print(f"{sum(remaining)} records remain" if remaining else __doc__)
    sys.exit(1 if any(remaining) or not remaining else 0)
