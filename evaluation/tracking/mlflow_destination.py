"""MLflow as a destination of what a run records; the only training module that imports it.

``evaluation.tracking.tracker`` is what a run uses, ``evaluation.tracking.delivery`` the thread
between the two. An unconfirmed delivery is repeated, so every call here may be made twice with the
same effect as once: MLflow takes the same metric (key, value, step and timestamp) twice as one, and
a run or a model version is looked up by its key before it is made.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import json
import logging
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import ConfigError
from evaluation.tracking.delivery import Undeliverable, read_state
from evaluation.tracking.metrics_log import MetricsRecord

if TYPE_CHECKING:  # importing it costs seconds: the background thread does that
    from mlflow import MlflowClient

__all__ = ["MlflowDestination", "TrackingConfig", "system_sampler"]

_LONGEST_VALUE = 500  # characters of a parameter or tag; servers before 2.8 take no more
_BATCH = 100  # parameters or tags per call: MLflow's limit
_METRICS_PER_CALL = 1000  # MLflow's limit
_DIGEST = 36  # characters: MLflow's limit

# A path that is gone or impossible, here or at a local artifact store.
_HOPELESS = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackingConfig:
    """Where a run is tracked."""

    enabled: bool = True  # off: files in the run folder only
    # MLflow tracking URI, which may hold a password; a relative file is in the working directory.
    uri: str = field(default="sqlite:///mlflow.db", repr=False)
    experiment: str = "echelon"
    system_metrics: bool = True
    system_metrics_interval: float = 10.0  # seconds
    flush_timeout: float = 10.0  # seconds to wait at the end for a server that doesn't answer
    request_timeout: int = 10  # seconds per HTTP request

    def __post_init__(self) -> None:
        for name in ("system_metrics_interval", "flush_timeout", "request_timeout"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"tracking.{name} is {getattr(self, name)}; expected seconds > 0."
                )
        if not self.uri or not self.experiment:
            raise ConfigError(
                "tracking.uri and tracking.experiment can't be empty; to run without a server "
                "set tracking.enabled=false."
            )
        match = re.fullmatch(r"sqlite:///(?!/)(.+)", self.uri)
        if match is not None:  # what it means must not change with the working directory
            object.__setattr__(self, "uri", f"sqlite:///{Path(match[1]).absolute()}")


class MlflowDestination:
    """Puts the records of one run folder into MLflow; used by the background thread alone."""

    def __init__(self, config: TrackingConfig) -> None:
        self._config = config
        self._client_or_none: MlflowClient | None = None

    def open(self) -> None:
        """Import MLflow; open, and migrate if need be, a local database. No network."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(self._config.request_timeout))
        # The courier retries, and looks first whether the lost request was done: the HTTP client
        # would send it twice.
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        uri = _move_credentials(self._config.uri)
        from mlflow import MlflowClient

        self._client_or_none = MlflowClient(tracking_uri=uri, registry_uri=uri)

    @property
    def _client(self) -> MlflowClient:
        if self._client_or_none is None:
            raise RuntimeError("open() comes first")
        return self._client_or_none

    def event(self, event: dict[str, Any], state: dict[str, Any]) -> None:
        """Deliver one event."""
        with _refusals():
            if event["kind"] == "start":
                self._start(event, state)
                return
            run_id = state.get("run_id")
            if run_id is None:
                raise Undeliverable("the run could not be created")
            if event["kind"] == "tags":
                self._log_texts(run_id, {}, event["tags"])
            elif event["kind"] == "artifact":
                self._log_artifact(run_id, Path(event["path"]), event["name"])
            elif event["kind"] == "dataset":
                self._log_dataset(run_id, event)
            elif event["kind"] == "register":
                state.setdefault("versions", {})[event["id"]] = self._register(run_id, event)
            elif event["kind"] == "finish":
                end = round(event["time"] * 1000)
                self._client.set_terminated(run_id, event["status"], end_time=end)
            else:
                raise Undeliverable(f"unknown kind '{event['kind']}'")

    def metrics(self, records: list[MetricsRecord], state: dict[str, Any]) -> None:
        """One ``log_batch`` for the metrics of several steps."""
        from mlflow.entities import Metric

        metrics = [
            Metric(_plain_key(name), value, round(record.time * 1000), record.step)
            for record in records
            for name, value in record.metrics.items()
        ]
        for start in range(0, len(metrics), _METRICS_PER_CALL):
            with _refusals():
                batch = metrics[start : start + _METRICS_PER_CALL]
                self._client.log_batch(state["run_id"], metrics=batch)

    def _start(self, event: dict[str, Any], state: dict[str, Any]) -> None:
        if "run_id" in state:  # resumed: its parameters stand
            self._client.update_run(state["run_id"], status="RUNNING")
            self._log_texts(state["run_id"], {}, event["tags"])
            return
        tags = {
            "echelon.key": event["key"],
            "mlflow.user": getpass.getuser(),
            "mlflow.source.name": "echelon",
            **event["tags"],
        }
        if event["parent"] is not None:
            parent = read_state(Path(event["parent"])).get("run_id")
            if parent is None:
                raise RuntimeError("the parent run is not delivered yet")
            tags["mlflow.parentRunId"] = parent
        experiment = self._experiment_id()
        # The answer to an earlier attempt may have been lost: look before creating a second run.
        found = self._client.search_runs(
            [experiment], f"tags.`echelon.key` = '{event['key']}'", max_results=1
        )
        run = (
            found[0]
            if found
            else self._client.create_run(
                experiment, round(event["time"] * 1000), dict(_texts(tags)), event["name"]
            )
        )
        self._log_texts(run.info.run_id, event["params"], {})
        state["run_id"] = run.info.run_id

    def _experiment_id(self) -> str:
        name = self._config.experiment
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return str(self._client.create_experiment(name, self._artifact_location()))
        if experiment.lifecycle_stage != "active":
            raise RuntimeError(
                f"experiment '{name}' is deleted on the server; restore it, or set "
                "tracking.experiment to another name and replay"
            )
        return str(experiment.experiment_id)

    def _artifact_location(self) -> str | None:
        """Artifacts lie beside a local database, whatever the working directory is."""
        if not self._config.uri.startswith("sqlite:///"):
            return None
        database = Path(self._config.uri.removeprefix("sqlite:///"))
        folder = re.sub(r"[^\w.-]", "_", self._config.experiment)
        return (database.parent / "mlruns" / folder).as_uri()

    def _log_texts(self, run_id: str, params: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
        from mlflow.entities import Param, RunTag

        for batch in _batches([Param(*pair) for pair in _texts(params)]):
            self._client.log_batch(run_id, params=batch)
        for batch in _batches([RunTag(*pair) for pair in _texts(tags)]):
            self._client.log_batch(run_id, tags=batch)

    def _log_artifact(self, run_id: str, path: Path, name: str | None) -> None:
        if path.is_dir():
            self._client.log_artifacts(run_id, str(path), name)
        elif path.is_file():
            self._client.log_artifact(run_id, str(path), name)
        else:
            raise Undeliverable(f"'{path}' is gone")

    def _log_dataset(self, run_id: str, event: Mapping[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=event["name"],
            digest=event["digest"][:_DIGEST],
            source_type="local",
            source=json.dumps({"uri": event["source"]}),
        )
        tags = [InputTag("mlflow.data.context", event["context"])]
        self._client.log_inputs(run_id, [DatasetInput(dataset, tags)])

    def _register(self, run_id: str, event: Mapping[str, Any]) -> str:
        """Upload, then make the version, then move the alias: a reader never sees half of it."""
        client, name = self._client, event["name"]
        if not Path(event["path"]).is_dir():
            raise Undeliverable(f"'{event['path']}' is no folder")
        self._log_artifact(run_id, Path(event["path"]), event["artifact"])
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        key = f"tags.`echelon.key` = '{event['id']}'"
        found = client.search_model_versions(f"name = '{name}' AND {key}", max_results=1)
        source = f"{client.get_run(run_id).info.artifact_uri}/{event['artifact']}"
        tags = {"echelon.key": event["id"], "echelon.time": str(event["time"])}
        made = found[0] if found else client.create_model_version(name, source, run_id, tags)
        if event["alias"] is not None:
            self._move_alias(name, event["alias"], str(made.version), event["time"])
        return str(made.version)

    def _move_alias(self, name: str, alias: str, version: str, asked_at: float) -> None:
        """Unless it was given to another version since: a late replay must not take it back."""
        holder = self._client.get_registered_model(name).aliases.get(alias)
        if holder is not None:
            tags = self._client.get_model_version(name, str(holder)).tags
            if float(tags.get("echelon.time", 0.0)) > asked_at:
                _log.warning(
                    "Tracking: '%s' version %s came later than version %s and keeps the alias @%s.",
                    name,
                    holder,
                    version,
                    alias,
                )
                return
        self._client.set_registered_model_alias(name, alias, version)


def system_sampler() -> Callable[[], dict[str, float]]:
    """A function that reads processor, memory, disk, network and GPU, named as MLflow does.

    MLflow's own monitor thread stops for good at the first failed request, and makes the end of
    a run wait for it; only its gauges are used.
    """
    from mlflow.system_metrics.metrics import (
        cpu_monitor,
        disk_monitor,
        gpu_monitor,
        network_monitor,
    )

    kinds: list[Any] = [
        cpu_monitor.CPUMonitor,
        disk_monitor.DiskMonitor,
        network_monitor.NetworkMonitor,
        gpu_monitor.GPUMonitor,
    ]
    gauges = []
    for kind in kinds:
        with contextlib.suppress(Exception):  # the GPU's raises where there is none
            gauges.append(kind())

    def sample() -> dict[str, float]:
        values: dict[str, float] = {}
        for gauge in gauges:
            gauge.collect_metrics()
            values |= {f"system/{name}": value for name, value in gauge.aggregate_metrics().items()}
            gauge.clear_metrics()
        return values

    return sample


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Tell what the server will never take from what may work later."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as problem:
        # A deleted run answers INVALID_PARAMETER_VALUE too; restored, it takes everything.
        refused = problem.error_code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
        if refused and "lifecycle_stage" not in str(problem):
            raise Undeliverable(str(problem)) from problem
        raise
    except OSError as problem:
        if problem.errno in _HOPELESS:
            raise Undeliverable(str(problem)) from problem
        raise


def _move_credentials(uri: str) -> str:
    """Return an HTTP address without ``user:password@``, which go where MLflow looks for them.

    MLflow shows the address it has in messages and in the links it prints.
    """
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.username is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = urllib.parse.unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = urllib.parse.unquote(parts.password or "")
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _texts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    texts = ((_plain_key(key), str(value)) for key, value in values.items())
    return [
        (key, text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "...")
        for key, text in texts
    ]


def _plain_key(key: str) -> str:
    """The key with what MLflow refuses in names replaced by ``_``, at most 250 characters."""
    key = re.sub(r"[^\w./ :-]", "_", key, flags=re.ASCII)[:250]
    return "/".join(part if part not in ("", ".", "..") else "_" for part in key.split("/"))


def _batches(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
