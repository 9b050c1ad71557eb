"""An MLflow server in memory, and a client between which and it requests and answers get lost."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST

from tests.faults.world import World

# What happens to a request: the connection is refused; no answer comes until the client gives up;
# an answer of 500; the server does it and its answer is lost; it takes its time.
Fate = Literal["refused", "black hole", "500", "answer lost", "slow", "done"]
# What a network may be like for a while: one of them is drawn for each request.
FATES: tuple[tuple[Fate, ...], ...] = (
    ("done",), ("done",), ("refused",), ("black hole",), ("500",), ("answer lost", "done"),
    ("done", "slow", "answer lost", "500", "refused"),
)  # fmt: skip
_KEY = re.compile(r"tags\.`([^`]+)` = '([^']*)'")
_NAME = re.compile(r"name = '([^']*)'")


class Server:
    """What `MlflowClient` asks for, as far as Echelon does, and what became of it.

    store: folder of the artifacts.
    metrics: of a run, (name, value, time in ms, step) in the order in which they came first.
    aliases: of a model, every version that each alias was given to, in order.
    """

    def __init__(self, world: World, store: Path) -> None:
        self._world, self._store = world, store
        self._numbers = itertools.count(1)
        self.runs: dict[str, dict[str, str]] = {}  # tags
        self.ended: dict[str, str] = {}
        self.metrics: dict[str, dict[tuple[str, float, int, int], None]] = {}
        self.models: dict[str, SimpleNamespace] = {}  # that runs logged
        self.versions: dict[str, list[SimpleNamespace]] = {}
        self.aliases: dict[tuple[str, str], list[str]] = {}

    def get_experiment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(experiment_id="0", tags={})

    def set_experiment_tag(self, experiment: str, key: str, value: str) -> None:
        pass

    def search_runs(self, experiments: Sequence[str], key: str, max_results: int) -> list[Any]:
        found = [run for run, tags in self.runs.items() if _has(tags, key)]
        return [self.get_run(run) for run in found[:max_results]]

    def create_run(self, experiment: str, time: int, tags: dict[str, str], name: str) -> Any:
        run = f"run{next(self._numbers)}"
        self.runs[run], self.metrics[run] = {**tags, "name": name}, {}
        return self.get_run(run)

    def get_run(self, run: str) -> SimpleNamespace:
        made = [
            SimpleNamespace(model_id=m.model_id) for m in self.models.values() if m.is_output
            and m.source_run_id == run
        ]  # fmt: skip
        last = {m[0]: SimpleNamespace(key=m[0], step=m[3]) for m in self.metrics[run]}
        data = SimpleNamespace(metrics=list(last.values()))
        return SimpleNamespace(
            info=SimpleNamespace(run_id=run, experiment_id="0"),
            data=SimpleNamespace(to_proto=lambda: data),
            outputs=SimpleNamespace(model_outputs=made),
        )

    def update_run(self, run: str, status: str) -> None:
        self._must_know(run)
        self.ended.pop(run, None)

    def set_terminated(self, run: str, status: str, end_time: int) -> None:
        self._must_know(run)
        self.ended[run] = status

    def log_batch(
        self, run: str, metrics: Sequence[Any] = (), params: Any = (), tags: Any = ()
    ) -> None:
        self._must_know(run)
        for m in metrics:
            self.metrics[run].setdefault((m.key, m.value, m.timestamp, m.step))

    def search_logged_models(
        self, experiments: Sequence[str], key: str, max_results: int
    ) -> list[Any]:
        return [m for m in self.models.values() if _has(m.tags, key)][:max_results]

    def create_logged_model(
        self, experiment: str, name: str, run: str, tags: dict[str, str], model_type: str
    ) -> Any:
        self._must_know(run)
        number = f"m{next(self._numbers)}"
        self.models[number] = SimpleNamespace(
            model_id=number, source_run_id=run, tags=dict(tags), status="PENDING",
            artifact_location=str(self._store / run / number), is_output=False,
        )  # fmt: skip
        return self.models[number]

    def log_model_artifacts(self, model: str, folder: str) -> None:
        shutil.copytree(folder, self.models[model].artifact_location, dirs_exist_ok=True)

    def finalize_logged_model(self, model: str, status: str) -> Any:
        self.models[model].status = status
        return self.models[model]

    def log_outputs(self, run: str, outputs: Sequence[Any]) -> None:
        self._must_know(run)
        for output in outputs:
            self.models[output.model_id].is_output = True

    def set_logged_model_tags(self, model: str, tags: dict[str, str]) -> None:
        self.models[model].tags.update(tags)

    def search_registered_models(self, condition: str) -> list[Any]:
        found = [name for name in self.versions if name in _NAME.findall(condition)]
        return [SimpleNamespace(name=name, tags={}) for name in found]

    def create_registered_model(self, name: str, tags: dict[str, str] | None = None) -> None:
        if name in self.versions:
            raise MlflowException("it exists", RESOURCE_ALREADY_EXISTS)
        self.versions[name] = []

    def search_model_versions(self, condition: str, max_results: int = 10_000) -> list[Any]:
        versions = self.versions.get(_NAME.findall(condition)[0], [])
        return [v for v in versions if _has(v.tags, condition)][:max_results]

    def create_model_version(
        self, name: str, source: str, run: str, tags: dict[str, str], model_id: str
    ) -> Any:
        number = str(len(self.versions[name]) + 1)
        made = SimpleNamespace(
            name=name, version=number, source=source, run_id=run, tags=dict(tags),
            creation_timestamp=round(1000 * self._world.now),
        )  # fmt: skip
        self.versions[name].append(made)
        return made

    def get_registered_model(self, name: str) -> SimpleNamespace:
        held = {a: given[-1] for (model, a), given in self.aliases.items() if model == name}
        return SimpleNamespace(aliases=held, tags={})

    def get_model_version(self, name: str, version: str) -> Any:
        return self.versions[name][int(version) - 1]

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        given = self.aliases.get((name, alias))
        if not given:
            raise MlflowException("no such alias", RESOURCE_DOES_NOT_EXIST)
        return self.get_model_version(name, given[-1])

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self.aliases.setdefault((name, alias), []).append(str(version))

    def _must_know(self, run: str) -> None:
        if run not in self.runs:
            raise MlflowException(f"no run {run}", RESOURCE_DOES_NOT_EXIST)


class Client:
    """Sends every call to the server over a network.

    fate: draws what happens to a request.
    timeout: seconds until a client gives up.
    """

    def __init__(
        self, world: World, server: Server, fate: Callable[[], Fate], timeout: float
    ) -> None:
        self._world, self._server, self._fate, self._timeout = world, server, fate, timeout

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answer = getattr(self._server, name)

        def request(*args: Any, **options: Any) -> Any:
            self._world.step(f"request {name}")
            fate = self._fate()
            if fate == "slow":
                self._pause(self._world.random.uniform(0.0, self._timeout))
            if fate == "black hole":
                self._pause(self._timeout)
            if fate not in ("done", "slow", "answer lost"):
                raise MlflowException(f"{name}: {fate}")
            answered = answer(*args, **options)
            if fate == "answer lost":
                raise MlflowException(f"{name}: {fate}")
            return answered

        return request

    def _pause(self, seconds: float) -> None:
        self._world.wait(lambda: False, seconds)


def _has(tags: dict[str, str], condition: str) -> bool:
    return all(tags.get(name) == value for name, value in _KEY.findall(condition))
