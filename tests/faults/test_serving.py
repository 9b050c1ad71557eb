"""The newest champion is served, or the last one that worked, whatever registry and disk do.

`FAULT_SEED=17 python -m pytest tests/faults` plays one seed alone.
"""

from __future__ import annotations

import functools
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from envs.errors import ArtifactError, EchelonError
from evaluation.artifact import registry
from evaluation.files.atomic_folder import verify_folder, write_folder
from evaluation.files.json_lines import read_lines
from evaluation.recommendation.schemas import ModelInfo
from evaluation.tracking.config import TrackingConfig
from evaluation.tracking.outbox import EVENTS
from evaluation.tracking.tracker import Tracker, resend
from serving import live
from serving.live import LivePolicy
from serving.source import Source
from tests.faults.disk import Disk, Trouble
from tests.faults.seeds import play_seeds
from tests.faults.server import FATES, Client, Fate, Server
from tests.faults.world import Process, World

TROUBLES: tuple[Trouble | None, ...] = (None, None, None, "full", "read-only", "slow")
MODEL, ALIAS = "model", "challenger"
CONFIG = TrackingConfig(
    enabled=True, uri="http://server", experiment="e", system_metrics=False,
    system_metrics_interval=10.0, flush_timeout=0.2, request_timeout=10,
)  # fmt: skip


class Site:
    """Trainings that register one model each, side by side, and a process that serves it.

    kept: version that is served, and known to be kept; None: there was none, or it isn't known.
    has_kept: whether some version was kept.
    has_refused: whether the disk that it is kept on has, since kept was set.
    is_wrong: by training, whether its clock is.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.runs, self.store, self.state = (folder / n for n in ("runs", "server", "serving"))
        for place in (self.runs, self.store, self.state):
            place.mkdir()
        self.disk, self.own_disk = Disk(world, self.runs), Disk(world, self.state)
        self.server = Server(world, self.store)
        self.fates: tuple[Fate, ...] = ("done",)
        self.names: list[str] = []
        self.kept: str | None = None
        self.has_kept = self.has_refused = False
        self.is_wrong: dict[str, bool] = {}

    def play(self) -> None:
        chance = self.world.random
        client = Client(self.world, self.server, lambda: chance.choice(self.fates), 10.0)
        with (
            self.world.clocks(),
            self.disk.mounted(),
            self.own_disk.mounted(),
            patch("evaluation.tracking.mlflow_destination.open_client", lambda *_: client),
            patch("evaluation.tracking.tracker.git_revision", lambda: None),  # a real process
            patch("evaluation.tracking.mlflow_destination._write_model", _write_model),
            patch.object(registry, "_client", lambda *_: client),
            patch.object(live, "load_artifact", _load),
            patch.object(live, "Recommender", _Recommender),
            patch.object(live, "_first_request", lambda recommender: None),
        ):
            self._play_badly()
            self.fates, self.own_disk.trouble = ("done",), None
            self.world.at_step = lambda process, what: None
            for name in self.names:
                self.world.run(Process(f"resend {name}"), functools.partial(self._resend, name))
            self._check_alias()
            self.world.run(Process("last"), functools.partial(self._train, "last"))
            assert self.server.runs[self._challenger.run_id]["name"] == "last"
            version = self.world.run(Process("serve at last"), self._serve)
            assert version == self._challenger.version

    def _play_badly(self) -> None:
        chance = self.world.random
        begun = []
        if chance.random() < 0.8:
            self.names.append("first")
            self.world.run(Process("first"), functools.partial(self._train, "first"))
        self.world.at_step = self._change_weather
        for i in range(chance.randint(0, 2)):
            self.names.append(f"train{i}")
            process = Process(self.names[-1], chance.choice([None, chance.randint(20, 120)]))
            process.clock_error = chance.choice([0.0, 0.0, 1e8])
            self.is_wrong[process.name] = process.clock_error != 0.0
            function = functools.partial(self._train, process.name)
            begun.append((process, self.world.spawn(process, function)))
        for life in range(chance.randint(1, 4)):
            process = Process(f"serve {life}", chance.randint(1, 60))
            self.world.run(process, self._serve)
            if chance.random() < 0.5:
                self.own_disk.lose_power()
            if chance.random() < 0.1:
                self.own_disk.flip_a_bit()
                self.kept, self.has_kept = None, False  # nothing is promised, but no other text
        for process, actor in begun:
            self.world.join(process, actor)

    def _train(self, name: str) -> None:
        folder = self.runs / name
        write_folder(folder / "policy", lambda policy: (policy / "weights").write_text(name))
        with Tracker(CONFIG, folder) as tracker:
            tracker.start(name)
            time.sleep(20.0 * self.world.random.random())
            tracker.register_model(MODEL, folder / "policy")

    def _resend(self, name: str) -> None:
        if (self.runs / name / EVENTS).exists():
            assert resend(self.runs / name, replace(CONFIG, flush_timeout=60.0)) == 0

    def _serve(self) -> str | None:
        time.sleep(10.0 * self.world.random.random())
        source = Source(ALIAS, MODEL, "http://server", cache=str(self.state))
        before, self.kept = self.kept, None
        try:
            policy = LivePolicy(source)
        except EchelonError as problem:
            if self.has_kept:
                raise AssertionError("nothing to serve, though some was kept") from problem
            return None
        if before is not None and policy.health().last_load_error is not None:
            assert policy.recommender.info.version == before
        self._note(policy)
        for _ in range(4):
            time.sleep(source.poll_seconds)
            self.kept = None
            policy.poll()
            self._note(policy)
        return policy.recommender.info.version

    def _note(self, policy: LivePolicy) -> None:
        served: Any = policy.recommender
        version = self.server.get_model_version(MODEL, served.info.version)
        assert served.text == self.server.runs[version.run_id]["name"]
        whole = [path.read_text() == served.text for path in self._weights(version.run_id)]
        if not self.has_refused and all(whole):
            self.kept, self.has_kept = version.version, True
        self.has_refused = self.own_disk.refuses

    def _check_alias(self) -> None:
        """It is the newest one's, if all clocks were right."""
        if any(self.is_wrong.values()) or not self.names:
            return
        asked = [
            (event["time"], name)
            for name in self.names
            if (path := self.runs / name / EVENTS).exists()
            for event in read_lines(path)[0]
            if event["kind"] == "register"
        ]
        if asked:
            given = self.server.aliases[MODEL, ALIAS]
            run = self._challenger.run_id
            assert self.server.runs[run]["name"] == max(asked)[1], f"{sorted(asked)}: {given}"

    @property
    def _challenger(self) -> Any:
        return self.server.get_model_version_by_alias(MODEL, ALIAS)

    def _change_weather(self, process: Process, what: str) -> None:
        chance = self.world.random
        if chance.random() < 0.05:
            self.fates = chance.choice(FATES)
        if chance.random() < 0.02:
            self.own_disk.trouble = chance.choice(TROUBLES)
            self.has_refused |= self.own_disk.refuses
        if chance.random() < 0.01:
            self._damage_a_version()

    def _damage_a_version(self) -> None:
        """For good: where it is whole now, it was when it was copied."""
        files = self._weights()
        if files:
            path = self.world.random.choice(files)
            path.write_bytes(b"?" + path.read_bytes()[1:])

    def _weights(self, run: str = "*") -> list[Path]:
        return sorted(self.store.glob(f"{run}/**/weights"))


class _Recommender:
    """A policy that is nothing but a text."""

    def __init__(self, text: str, *, version: str, **_: Any) -> None:
        self.text, self.info = text, ModelInfo.model_construct(version=version)

    def recommend(self, request: object) -> Any:
        return SimpleNamespace(fallback=SimpleNamespace(used=False))


def _write_model(policy: Path, folder: Path, *_: object) -> None:
    """What is read of it; MLflow's own part takes a second."""
    shutil.copytree(policy, folder / registry.POLICY)


def _load(folder: Path) -> str:
    verify_folder(folder, error=ArtifactError)
    return (folder / "weights").read_text()


@pytest.mark.parametrize(
    "seeds", [range(30), pytest.param(range(30, 1500), marks=pytest.mark.nightly)]
)
def test_the_newest_is_served_and_never_goes_back(seeds: range) -> None:
    """Nor is there nothing to serve, where something was."""
    play_seeds(seeds, lambda world, folder: Site(world, folder).play())
