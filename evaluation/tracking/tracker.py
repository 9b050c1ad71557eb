"""Tracking that never holds up or ends a run.

Everything is written to the run folder first and sent to MLflow from there by a background
thread. What could not be sent when the run ends stays there: ``resend`` sends it later.

    with Tracker(config, run_folder) as tracker:
        tracker.start("beer_game seed 3", params=flat, tags={})
        tracker.log_metrics(step, {"return/mean": -3.1})
        tracker.log_artifacts(run_folder / "policy", "policy")
        version = tracker.register_model("beer_game", run_folder / "policy")
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - MLflow needs it, and at exit it's too late to import
import contextlib
import itertools
import logging
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from envs.errors import ConfigError
from envs.redact import redact, redact_tree
from evaluation.files.json_lines import read_lines
from evaluation.revision import git_revision
from evaluation.tracking.config import TrackingConfig
from evaluation.tracking.mlflow_destination import MlflowDestination, system_metrics
from evaluation.tracking.outbox import EVENTS, Outbox
from evaluation.tracking.sender import Sender

Status = Literal["FINISHED", "FAILED", "KILLED"]

_log = logging.getLogger(__name__)


class Tracker:
    """One tracked run. No method waits for the server, save register_model and finish, briefly.

    From its construction to its end the folder belongs to this process. ConfigError where it is
    another's, or holds a run that isn't resumed; nothing in it has changed then.
    resumed: go on with the run in the folder, if there is one, and with its MLflow run.
    """

    def __init__(
        self,
        config: TrackingConfig,
        run_folder: Path,
        *,
        parent: Path | None = None,
        resumed: bool = False,
    ) -> None:
        if not resumed:
            must_be_unused(run_folder)
        self.folder = Path(run_folder).absolute()
        self.config, self._parent = config, parent
        self._outbox = Outbox(self.folder)
        if not resumed and self._outbox.events.size:  # another process was faster
            self._outbox.close()
            must_be_unused(run_folder)
        self._destination = MlflowDestination(config)
        self._sender = Sender(self._outbox, self._destination)
        self._sampler = threading.Thread(target=self._sample, name="system metrics", daemon=True)
        self._started = False
        self._finished = threading.Event()
        self._warned = False

    def start(
        self,
        run_name: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] = MappingProxyType({}),
        description: str = "",
    ) -> None:
        """Begin. ``params`` is flat. description: Markdown, shown above the run.

        tags: ``command`` is what of Echelon runs.
        """
        self._started = True
        resumed = self._outbox.events.size > 0  # its parameters stand
        self._event(
            "start",
            name=run_name,
            params={} if resumed else redact_tree(dict(params or {})),
            tags=redact_tree(_origin(tags) | {"mlflow.note.content": description, **tags}),
            key=self._outbox.run_key(),
            parent=None if self._parent is None else str(self._parent),
            uri=redact(self.config.uri),
            experiment=self.config.experiment,
        )
        atexit.register(self._at_exit)
        if self.config.enabled:
            self._sender.start()
            if self.config.system_metrics:
                self._sampler.start()

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of one step, once; ``group/name`` makes a section in MLflow."""
        with self._never_fatal():
            self._outbox.metrics.record(step, metrics)
        self._sender.wake()

    def log_artifacts(self, path: Path, name: str | None = None) -> None:
        """A file or folder that stays where it is; ``name`` is its folder in MLflow."""
        self._event("artifact", path=str(Path(path).absolute()), name=name)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Say more of a run that has begun; what is said twice is what was said last."""
        self._event("tags", tags=redact_tree(dict(tags)))

    def log_dataset(
        self,
        name: str,
        digest: str,
        source: str,
        context: str = "training",
        profile: Mapping[str, Any] | None = None,
    ) -> None:
        """Which data was used, with its hash. context: what for. profile: its sizes."""
        self._event(
            "dataset", name=name, digest=digest, source=redact(source), context=context,
            profile=profile,
        )  # fmt: skip

    def register_model(self, name: str, folder: Path, *, network: str | None = None) -> str | None:
        """Register the folder as a version of the model: @challenger, if it is the newest.

        network: hash of the network that its policies are of; where another network has the name
            already, the model is the one that `evaluation.artifact.registry.find_model` finds.
        Waits for the server, at most ``flush_timeout`` without progress. Returns the version;
        None when the server did not take it (yet): ``resend`` does it later.
        """
        identity = secrets.token_hex(16)
        path = str(Path(folder).absolute())
        self._event("register", name=name, path=path, id=identity, network=network)
        if not self.config.enabled or not self._started or self._finished.is_set():
            return None
        self._sender.wait([self._outbox.events], self.config.flush_timeout)
        version: str | None = self._outbox.state.get("versions", {}).get(identity)
        if version is None:
            _log.warning("Tracking: model '%s' is not registered: see the lines before.", name)
        return version

    def child(self, name: str) -> Tracker:
        """A run of its own below this one, in the folder ``name`` of this run's folder."""
        return Tracker(self.config, self.folder / name, parent=self.folder, resumed=True)

    @property
    def run_id(self) -> str | None:
        """The MLflow run, once the server has made it."""
        return self._outbox.state.get("run_id")

    def finish(self, status: Status = "FINISHED") -> None:
        """End the run; waits for delivery, at most ``flush_timeout`` without progress."""
        if self._finished.is_set():
            return
        self._finished.set()
        atexit.unregister(self._at_exit)
        if self._started:
            if self._sampler.is_alive():
                self._sampler.join(timeout=1.0)
            with self._never_fatal():
                self._outbox.metrics.catch_up()
            self._event("finish", status=status)
            if self.config.enabled and (left := self._sender.close(self.config.flush_timeout)):
                _log.warning(
                    f"Tracking: {left} records did not reach {redact(self.config.uri)}; nothing "
                    f"is lost, they are in '{self.folder}'. When the server is back: "
                    f"python -m evaluation.tracking.tracker '{self.folder}'"
                )
        self._outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        failed = kind is not None and issubclass(kind, Exception)
        self.finish("FINISHED" if kind is None else "FAILED" if failed else "KILLED")

    def _at_exit(self) -> None:
        """The process ends without finish(): after an uncaught error, or by sys.exit."""
        self.finish("FAILED" if hasattr(sys, "last_value") else "KILLED")

    def _event(self, kind: str, **fields: Any) -> None:
        with self._never_fatal():
            self._outbox.events.append({"kind": kind, "time": time.time(), **fields})
        self._sender.wake()

    @contextlib.contextmanager
    def _never_fatal(self) -> Iterator[None]:
        """A full disk, or a value that is no number, is a warning: no reason to end a run."""
        try:
            yield
        except (OSError, TypeError, ValueError) as problem:
            if not self._warned:
                self._warned = True
                _log.warning(
                    f"Tracking: not recorded in '{self.folder}' ({problem}). The run goes on; "
                    "where the disk is full, make room: then it is recorded."
                )

    def _sample(self) -> None:
        """Record the machine's load until the end."""
        log = self._outbox.system_metrics
        self._destination.opened.wait()  # MLflow is imported once, by the sender
        with contextlib.suppress(Exception):  # gauges differ by machine: better none than a stop
            samples = system_metrics()
            next(samples)  # the first processor reading has nothing to compare with
            for step in itertools.count(log.next_step):
                if self._finished.wait(self.config.system_metrics_interval):
                    return
                log.record(step, next(samples))
                self._sender.wake()


def _origin(tags: Mapping[str, str]) -> dict[str, str]:
    """Which command and which commit, as MLflow calls them."""
    commit = git_revision()
    return {"mlflow.source.name": " ".join(["echelon", *filter(None, [tags.get("command")])])} | (
        {} if commit is None else {"mlflow.source.git.commit": commit}
    )


def must_be_unused(run_folder: Path) -> None:
    """Raise ConfigError where a run was recorded in the folder."""
    events = run_folder / EVENTS
    if events.exists() and events.stat().st_size:
        raise ConfigError(
            f"out={run_folder} holds a run already; expected one run per folder. Give another "
            "folder, or none; train, sweep and report go on with a run by resume=FOLDER."
        )


def resend(run_folder: Path, config: TrackingConfig | None = None) -> int:
    """Send what an ended run left behind, and return the number of records that remain.

    A run whose process was killed is closed as KILLED. ``config`` is needed where the tracking
    address holds a password, which no file has. Raises ConfigError where that is so and it is
    missing, the folder is not a run's, or the run is still alive.
    """
    run_folder = Path(run_folder).absolute()
    if not (run_folder / EVENTS).exists():
        raise ConfigError(
            f"Folder '{run_folder}' has no {EVENTS}; expected the folder of a run. Check the path."
        )
    with contextlib.closing(Outbox(run_folder)) as outbox:
        events = [e for e in read_lines(outbox.events.path)[0] if e["kind"] in ("start", "finish")]
        if not events:
            return 0
        if config is None:
            if "***" in events[0]["uri"]:
                raise ConfigError(
                    f"The tracking address of '{run_folder}' held a password, which is not kept. "
                    "Give resend() a TrackingConfig with the whole address."
                )
            config = TrackingConfig(
                enabled=True, uri=events[0]["uri"], experiment=events[0]["experiment"],
                system_metrics=False, system_metrics_interval=10.0, flush_timeout=10.0,
                request_timeout=10,
            )  # fmt: skip
        if events[-1]["kind"] == "start":
            outbox.events.append({"kind": "finish", "time": time.time(), "status": "KILLED"})
        sender = Sender(outbox, MlflowDestination(config))
        sender.start()
        return sender.close(config.flush_timeout)


if __name__ == "__main__":
    remaining = [resend(Path(folder)) for folder in sys.argv[1:]]
    print(f"{sum(remaining)} records remain" if remaining else __doc__)
    sys.exit(1 if any(remaining) or not remaining else 0)
