"""MLflow as the destination of what a run records.

An unconfirmed record is sent again, so every call here may be made twice with the same effect as
once: MLflow takes the same metric (key, value, step and timestamp) twice as one, and a run or a
model version is looked up by its key before it is made.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import importlib.metadata
import json
import logging
import os
import re
import shutil
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.redact import keep_out
from evaluation.tracking.config import TrackingConfig
from evaluation.tracking.outbox import read_state

if TYPE_CHECKING:  # importing it costs seconds: the background thread does that
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

_LONGEST_VALUE = 5000  # characters of a parameter or tag: MLflow's limit
_LIMITS = {"metrics": 1000, "params": 100, "tags": 100}  # of one MLflow request
_DIGEST = 36  # characters: MLflow's limit
_KIND = "mlflow.experimentKind"
POLICY = "artifacts/policy"  # the exported policy in the folder of a model
_SCRIPT = Path(__file__).parents[1] / "recommendation" / "mlflow_model.py"
# What the script imports, beside MLflow and Echelon, which is on no index that pip could ask.
_NEEDS = ("numba", "numpy", "pandas", "pydantic", "pyyaml", "safetensors", "scipy", "torch")
_NETWORK = "echelon.network"  # tag of a registered model: the hash of the network it is of
_CHALLENGER = "challenger"  # alias of the newest version; @champion moves through the gate alone

# A path that is gone or impossible, here or at a local artifact store.
_PERMANENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)

# MLflow calls a request wrong, too, whose run is deleted (restored, it takes everything), or that
# the database had no free connection for, or closed it (SQLAlchemy's codes).
_PASSING = ("must be in the 'active'", "/3o7r)", "/rvf5)")

_log = logging.getLogger(__name__)


class Refused(Exception):
    """The server will never take this record."""


class MlflowDestination:
    """Puts the records of one run folder into MLflow; used by the background thread alone."""

    def __init__(self, config: TrackingConfig) -> None:
        self._config = config
        self.opened = threading.Event()  # MLflow is imported, the database migrated
        self._last: dict[str, int] | None = None  # steps by metric, when this process began

    @functools.cached_property
    def _client(self) -> MlflowClient:
        client = open_client(self._config.uri, self._config.request_timeout)
        self.opened.set()
        return client

    def send(self, records: Sequence[Mapping[str, Any]], state: dict[str, Any]) -> None:
        """Deliver the metrics of some steps, or one event; ``state`` is kept between processes.

        Raises Refused for what will never be taken; anything else may work later.
        """
        record, kind = records[0], records[0].get("kind")
        if kind == "start":  # refused or not, nothing is taken without the run: try it again
            state["run_id"] = self._start(record, state.get("run_id"))
        if "run_id" not in state:
            raise Refused("it was recorded before the start of the run")
        run_id = state["run_id"]
        from mlflow.entities import Metric, Param, RunTag

        with _refusals():
            match kind:
                case None:
                    last = self._last_steps(run_id)
                    metrics = [
                        Metric(_key(name), float(value), round(1000 * r["time"]), r["step"])
                        for r in records
                        for name, value in r["metrics"].items()
                        if r["step"] > last.get(_key(name), -1)
                    ]
                    self._log(run_id, metrics=metrics)
                case "start":
                    params, tags = record["params"], record["tags"]
                    self._log(run_id, params=[Param(_key(k), _cut(v)) for k, v in params.items()])
                    self._log(run_id, tags=[RunTag(_key(k), _cut(v)) for k, v in tags.items()])
                case "tags":
                    tags = record["tags"]
                    self._log(run_id, tags=[RunTag(_key(k), _cut(v)) for k, v in tags.items()])
                case "artifact":
                    self._upload(run_id, Path(record["path"]), record["name"])
                case "dataset":
                    self._log_dataset(run_id, record)
                case "register":
                    state.setdefault("versions", {})[record["id"]] = self._register(run_id, record)
                case "finish":
                    end = round(record["time"] * 1000)
                    self._client.set_terminated(run_id, record["status"], end_time=end)
                case _:
                    raise Refused("this kind of event is unknown")

    def _start(self, event: Mapping[str, Any], run_id: str | None) -> str:
        """Return the MLflow run: a new one, or the one that goes on."""
        if run_id is not None:
            self._client.update_run(run_id, status="RUNNING")
            return run_id
        tags = {
            "echelon.key": event["key"],
            "mlflow.user": os.environ.get("USER", str(os.getuid())),
            "mlflow.source.type": "LOCAL",
        }
        if event["parent"] is not None:
            parent = read_state(Path(event["parent"])).get("run_id")
            if parent is None:
                raise RuntimeError("the parent run is not delivered yet")
            tags["mlflow.parentRunId"] = parent
        found = self._client.get_experiment_by_name(self._config.experiment)
        if found is None:
            place = self._artifact_location()
            experiment = self._client.create_experiment(self._config.experiment, place)
        else:
            experiment = found.experiment_id
        if found is None or _KIND not in found.tags:  # which page it opens with
            self._client.set_experiment_tag(experiment, _KIND, "custom_model_development")
        # The answer to an earlier attempt may have been lost: look before creating a second run.
        key = f"tags.`echelon.key` = '{event['key']}'"
        runs = self._client.search_runs([experiment], key, max_results=1)
        run = runs[0] if runs else self._client.create_run(
            experiment, round(event["time"] * 1000), tags, event["name"]
        )  # fmt: skip
        return str(run.info.run_id)

    def _last_steps(self, run_id: str) -> Mapping[str, int]:
        """Of each metric, the last step that the server had when this process began: a run that
        goes on elsewhere, from a copy that lagged behind, plays some once more."""
        if self._last is None:
            known = self._client.get_run(run_id).data.to_proto().metrics
            self._last = {metric.key: metric.step for metric in known}
        return self._last

    def _artifact_location(self) -> str | None:
        """Artifacts lie beside a local database, whatever the working directory is."""
        match = re.fullmatch("sqlite:///(.+)", self._config.uri)
        folder = re.sub(r"[^\w.-]", "_", self._config.experiment)
        return (Path(match[1]).parent / "mlruns" / folder).as_uri() if match else None

    def _log(self, run_id: str, **entities: Sequence[Any]) -> None:
        """Log `metrics`, `params` or `tags`, in as many requests as MLflow's limits ask for."""
        for kind, items in entities.items():
            for start in range(0, len(items), _LIMITS[kind]):
                batch: Any = {kind: items[start : start + _LIMITS[kind]]}
                self._client.log_batch(run_id, **batch)

    def _upload(self, run_id: str, path: Path, name: str | None) -> None:
        if path.is_dir():
            self._client.log_artifacts(run_id, str(path), name)
        elif path.is_file():
            self._client.log_artifact(run_id, str(path), name)
        else:
            raise Refused(f"'{path}' is gone")

    def _log_dataset(self, run_id: str, event: Mapping[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": event["source"]})
        profile = json.dumps(event.get("profile"))
        digest = event["digest"][:_DIGEST]
        dataset = Dataset(event["name"], digest, "local", source, profile=profile)
        tags = [InputTag("mlflow.data.context", event.get("context", "training"))]
        self._client.log_inputs(run_id, [DatasetInput(dataset, tags)])

    def _register(self, run_id: str, event: Mapping[str, Any]) -> str:
        """Upload, then make the version, then move the alias: a reader never sees half of it."""
        client, name = self._client, self._model_of(event)
        event = {**event, "name": name}
        if not Path(event["path"]).is_dir():
            raise Refused(f"'{event['path']}' is no folder")
        model = self._logged_model(run_id, event)
        key = f"name = '{name}' AND tags.`echelon.key` = '{event['id']}'"
        found = client.search_model_versions(key, max_results=1)
        tags = {"echelon.key": event["id"], "echelon.time": str(event["time"])}
        tags["echelon.alias"] = _CHALLENGER
        made = found[0] if found else client.create_model_version(
            name, model.artifact_location, run_id, tags, model_id=model.model_id
        )  # fmt: skip
        version = str(made.version)
        in_registry = json.dumps([{"name": name, "version": version}])
        client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": in_registry})
        self._give_alias(name, _CHALLENGER, version)
        return version

    def _logged_model(self, run_id: str, event: Mapping[str, Any]) -> LoggedModel:
        """The policy as a model of the run, in a folder of its own that never changes again."""
        from mlflow.entities import LoggedModelOutput

        client, run = self._client, self._client.get_run(run_id)
        experiment, key = run.info.experiment_id, f"tags.`echelon.key` = '{event['id']}'"
        found = client.search_logged_models([experiment], key, max_results=1)
        model = found[0] if found else client.create_logged_model(
            experiment, re.sub(r"[/:.%\"']", "_", event["name"]), run_id,
            tags={"echelon.key": event["id"]}, model_type="policy",
        )  # fmt: skip
        if model.status != "READY":
            with tempfile.TemporaryDirectory(prefix="model_") as folder:
                _write_model(Path(event["path"]), Path(folder) / "model", event["name"], model)
                client.log_model_artifacts(model.model_id, f"{folder}/model")
            model = client.finalize_logged_model(model.model_id, "READY")
        known = run.outputs.model_outputs if run.outputs else []
        if all(output.model_id != model.model_id for output in known):
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        return model

    def _model_of(self, event: Mapping[str, Any]) -> str:
        """Return the name of the model that the policy belongs to, which is there then and its
        network's: one that isn't any network's yet becomes this one's."""
        client, name, network = self._client, str(event["name"]), event.get("network")
        if network is not None:
            name = name_of_network(client, name, network)
        found = client.search_registered_models(f"name = '{name}'")
        if not found:  # where another process is faster, this one is refused, and looks again
            client.create_registered_model(name, None if network is None else {_NETWORK: network})
        elif network is not None and _NETWORK not in found[0].tags:
            client.set_registered_model_tag(name, _NETWORK, network)
        return name

    def _give_alias(self, name: str, alias: str, version: str) -> None:
        """Give the alias to the version, unless a newer one asked for it.

        Two runs may look at the same time and then both give it; MLflow can't give it under a
        condition. So whoever gave it looks again, and leaves it to the newer one.
        """
        client, asked = self._client, f"name = '{name}' AND tags.`echelon.alias` = '{alias}'"
        while True:
            newest = str(max(client.search_model_versions(asked), key=_recorded).version)
            holder = str(client.get_registered_model(name).aliases.get(alias))
            if holder == newest or version not in (holder, newest):
                break
            client.set_registered_model_alias(name, alias, newest)
        if newest != version:  # resent late
            _log.warning(
                f"Tracking: version {newest} of '{name}' is newer than version {version} and keeps "
                f"the alias @{alias}."
            )


def _write_model(policy: Path, folder: Path, name: str, logged: LoggedModel) -> None:
    """Write the folder that `mlflow.pyfunc.load_model` reads: the policy as it is, and code."""
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from pandas import DataFrame

    from evaluation.recommendation.rows import example, signature  # takes seconds

    try:
        asked = DataFrame([example(json.loads((policy / "network.json").read_bytes()))])
    except (OSError, ValueError):  # an older policy, or no good one: whoever loads it is told
        asked = None
    with tempfile.TemporaryDirectory(prefix="policy_") as copy:  # the model has its folder's name
        source = shutil.copytree(policy, Path(copy) / "policy")
        pyfunc.save_model(
            folder,
            python_model=str(_SCRIPT),
            artifacts={"policy": str(source)},
            model_config={"name": name, "run_id": logged.source_run_id},
            mlflow_model=Model(run_id=logged.source_run_id, model_id=logged.model_id),
            signature=ModelSignature.from_dict(signature()),
            input_example=asked,
            pip_requirements=[_pinned(package) for package in _NEEDS],
        )


def _pinned(package: str) -> str:
    version = importlib.metadata.version(package).partition("+")[0]  # +cpu is of another index
    return f"{package}=={version}"


def name_of_network(client: MlflowClient, name: str, network: str) -> str:
    """Return the name; where it holds policies of another network, with this one's hash."""
    for model in client.search_registered_models(f"name = '{name}'"):
        if model.tags.get(_NETWORK, network) != network:
            return f"{name}-{network[:8]}"
    return name


def reach(config: TrackingConfig) -> None:
    """Ask for an experiment; raises whatever MLflow raises where nobody answers."""
    open_client(config.uri, config.request_timeout).search_experiments(max_results=1)


def open_client(uri: str, seconds: int) -> MlflowClient:
    """Import MLflow; open, and migrate if need be, a local database. No network.

    seconds: per HTTP request, where the environment says nothing else.
    """
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(seconds))
    # The sender retries, and looks first whether the lost request was done: the HTTP client
    # would send it twice.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    keep_out(uri)
    uri = _move_credentials(uri)
    from mlflow import MlflowClient

    with _alone(uri):  # the constructor opens the store
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Keep other processes waiting while a local database may be made or migrated: MLflow looks
    what is missing and makes it, and of two that look at once each makes it."""
    match = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", uri)
    with contextlib.ExitStack() as stack:
        if match is not None:
            with contextlib.suppress(OSError):  # where no lock can be made, nor can a database
                lock = stack.enter_context(Path(f"{match[1]}.lock").open("ab"))
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def system_metrics() -> Iterator[dict[str, float]]:
    """Read processor, memory, disk, network and GPU at every step, named as MLflow does.

    Of MLflow's monitor only the gauges are used: its thread stops for good at the first failed
    request, and the end of a run waits for it.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    # This address is never asked; by default MLflow makes a database in the working directory.
    monitor = SystemMetricsMonitor(run_id="", tracking_uri="http://localhost")
    while True:
        monitor.collect_metrics()
        yield {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
        for gauge in monitor.monitors:
            gauge.clear_metrics()


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Whether the server will never accept the request, rather than perhaps later."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as problem:
        refused = problem.error_code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
        if refused and not any(text in str(problem) for text in _PASSING):
            raise Refused(str(problem)) from problem
        raise
    except OSError as problem:
        if problem.errno in _PERMANENT:
            raise Refused(str(problem)) from problem
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


def _recorded(version: Any) -> tuple[float, int]:
    """When a model version was recorded; no later than it was made, by the server's clock: one run
    on a machine whose clock is ahead must not keep the alias from all that follow."""
    recorded = float(version.tags.get("echelon.time", 0.0))
    return min(recorded, version.creation_timestamp / 1000.0), int(version.version)


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _key(key: str) -> str:
    """The key with what MLflow refuses in names replaced by ``_``, at most 250 characters."""
    key = re.sub(r"[^\w./ :-]", "_", key, flags=re.ASCII)[:250]
    return "/".join(part if part not in ("", ".", "..") else "_" for part in key.split("/"))
