"""Calls on the runners of an algorithm: every healthy one answers in time or is started anew, and a
training that gets no answers ends."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from envs.errors import EchelonError, TrainingStopped
from training.config import ResourcesConfig
from training.rllib.placement import in_no_group, not_started
from training.rllib.scaling import IterationTimes, Spent

T = TypeVar("T")

_PATIENCE = 10.0  # times the longest answer so far: how long the next one is waited for
_SHORTEST = 20.0  # seconds that are waited in any case
_ROUNDS = 3  # of an iteration, in which all that were asked died; of such that kept silent, 1

RUNNERS = "remote_runners"  # of an iteration's result: see `RemoteRunners.metrics`

_log = logging.getLogger(__name__)


class RemoteRunners:
    """The remote runners of an algorithm. Those that are lost come back where Ray can start them
    anew, and those that wait for a node to join come when it has."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._group = algorithm.env_runner_group
        self._manager = self._group._worker_manager
        self._config = algorithm.config
        self._pings: dict[int, Any] = {}  # by runner that isn't known to be alive: its answer
        self._fruitless = 0  # rounds in a row in which all that were asked died
        self._empty = 0  # iterations in a row without any answer
        self._longest = 0.0  # seconds
        self._warm: set[int] = set()  # have answered since they were started: kernels are loaded
        self._times = IterationTimes()
        if self.count:
            self._start()

    def _start(self) -> None:
        """Start all; return when they are there, or some while after `min_runners` are.

        Raises:
            TrainingStopped: too few could be started.
        """
        resources, begun = self._resources, time.monotonic()
        self._group._remote_args["memory"] = resources.runner.get("memory")
        if resources.placement == "spread" and in_no_group():
            self._group._remote_args["scheduling_strategy"] = "SPREAD"
        self._group.add_workers(self.count, validate=False)
        for runner in self._manager.actor_ids():
            self._manager.set_actor_state(runner, healthy=False)
        while len(self._group.healthy_worker_ids()) < resources.min_runners:
            # Those that are lost, not waiting for a node, are waited for as in any iteration.
            wait = resources.start_wait if self._pings else self._wait
            if time.monotonic() - begun > wait:
                what = f"{resources.min_runners} of {self.count} runners"
                raise not_started(what, resources.runner, wait)
            if not self.take_back(wait=0.5):
                time.sleep(0.1)
        self.take_back(wait=self._wait)

    @property
    def _resources(self) -> ResourcesConfig:
        resources: ResourcesConfig = self._config.env_config["resources"]
        return resources

    @property
    def count(self) -> int:
        """How many are configured."""
        return self._resources.runners

    @property
    def _wait(self) -> float:
        return self._resources.restart_wait

    def take_back(self, wait: float = 0.0) -> list[int]:
        """Return those that answer now and didn't before; never longer than `wait` seconds."""
        lost = set(self._manager.actor_ids()) - set(self._group.healthy_worker_ids())
        for runner in lost - set(self._pings):
            self._pings[runner] = self._manager.actors()[runner].ping.remote()
        if not self._pings:
            return []
        waiting = list(self._pings.values())
        ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=wait)
        found = []
        for runner, ping in list(self._pings.items()):
            if ping in ready:
                del self._pings[runner]
                with contextlib.suppress(RayError):
                    ray.get(ping)
                    self._manager.set_actor_state(runner, healthy=True)
                    found.append(runner)
        return found

    def alive(self) -> list[int]:
        """Healthy runners; where there is none, wait a while for one to be restarted."""
        deadline = time.monotonic() + self._wait
        self.take_back()
        while not self._group.healthy_worker_ids() and time.monotonic() < deadline:
            if not self.take_back(wait=0.5):
                time.sleep(0.1)  # a runner that is lost for good answers at once
        healthy: list[int] = self._group.healthy_worker_ids()
        return healthy

    def ask(self, call: Callable[[Any], T], runners: Sequence[int]) -> dict[int, T]:
        """Return what `call(runner)` gave on these, by number; the silent are killed and left out.

        Raises:
            EchelonError: a runner refused with it.
        """
        begun, patience = time.monotonic(), self._patience(runners)
        are_warm = self._warm.issuperset(runners)
        answers = self._group.foreach_env_runner(
            functools.partial(_answer, call=call),
            local_env_runner=False,
            remote_worker_ids=list(runners),
            timeout_seconds=patience,
        )
        self._times.note_round(
            len(runners), time.monotonic() - begun, {runner: spent for runner, _, spent in answers}
        )
        for _, answer, _ in answers:
            if isinstance(answer, EchelonError):
                raise answer
        answered = {runner for runner, _, _ in answers}
        was_silent = bool((set(runners) - answered) & set(self._group.healthy_worker_ids()))
        self._fruitless = 0 if answered else _ROUNDS if was_silent else self._fruitless + 1
        self._restart_silent(set(runners) - answered, patience)
        self._warm = (self._warm - set(runners)) | answered
        if are_warm and len(answered) == len(runners):
            self._longest = max(self._longest, time.monotonic() - begun)
        return {runner: answer for runner, answer, _ in answers}

    def fetch(self, reference: Any) -> Any:
        """Return what lies with a runner; None where that is lost."""
        timeout = float(self._config.sample_timeout_s)
        with contextlib.suppress(RayError):
            return self.fetching(functools.partial(ray.get, reference, timeout=timeout))
        return None

    def fetching(self, call: Callable[[], T]) -> T:
        """Return what this gives, which fetches what lies with runners."""
        begun = time.monotonic()
        try:
            return call()
        finally:
            self._times.note_fetched(time.monotonic() - begun)

    @property
    def has_hope(self) -> bool:
        """Whether asking once more in this iteration may bring what the last round did not."""
        return self._fruitless < _ROUNDS

    def _patience(self, runners: Sequence[int]) -> float:
        """Seconds to wait for an answer: as set, and less once it is known what is usual."""
        limit = float(self._config.sample_timeout_s)
        if not self._longest or not self._warm.issuperset(runners):
            return limit
        return min(limit, max(_PATIENCE * self._longest, _SHORTEST))

    def _restart_silent(self, silent: set[int], patience: float) -> None:
        """Kill runners that are alive but gave no answer in time; Ray starts them anew.

        RLlib would call them again and again, and wait for the deadline each time.
        """
        for runner in silent & set(self._group.healthy_worker_ids()):
            _log.error(
                "runner %d gave no answer within %.0f s: killed, to be restarted; if it is only "
                "slow, raise resources.sample_timeout",
                runner,
                patience,
            )
            ray.kill(self._manager.actors()[runner], no_restart=False)
            self._manager.set_actor_state(runner, healthy=False)

    def end(self) -> None:
        """Kill all, in whatever state: RLlib would wait for one that hangs or was never started."""
        self._manager.clear()

    def note_iteration(self, is_empty: bool) -> None:
        """Count iterations in a row that brought nothing.

        Raises:
            TrainingStopped: there were too many.
        """
        self._empty, self._fruitless = self._empty + 1 if is_empty else 0, 0
        if self._empty >= self._resources.empty_iterations:
            alive = self._group.num_healthy_remote_workers()
            of = f" ({alive} of {self.count} runners are alive)" if self.count else ""
            raise TrainingStopped(
                f"no runner has given a sample for {self._empty} iterations{of}; see the first "
                "error in the runners' logs, or sample in this process with resources.env_runners=0"
            )

    def begin_iteration(self) -> None:
        """Count its times from now on."""
        self._times = IterationTimes()

    def metrics(self, seconds: float) -> dict[str, float]:
        """Return how many are alive, and what they did in an iteration of so many seconds."""
        alive = self._group.num_healthy_remote_workers()
        return {"runners": float(alive), **self._times.shares(seconds)}

    def ask_one(self, call: Callable[[Any], T]) -> T:
        """Return what `call(runner)` gives, on the one of this process or any other that answers.

        Raises:
            EchelonError: the runner refused with it.
            TrainingStopped: none answers.
        """
        local = self._group.local_env_runner
        if local is not None and local.env is not None:
            return call(local)
        for runner in self.alive():
            for answer in self.ask(call, [runner]).values():
                self._warm.discard(runner)  # what it is asked next is another thing
                return answer
        raise TrainingStopped(
            f"none of {self.count} runners could be started; see the first error in their logs, "
            "or sample in this process with resources.env_runners=0"
        )


class OnRemoteRunners(Algorithm):
    """An algorithm that calls its runners by `RemoteRunners`."""

    _remote: RemoteRunners | None = None

    def setup(self, config: AlgorithmConfig) -> None:
        """Build runners and learners."""
        super().setup(config)
        self._remote = RemoteRunners(self)

    @property
    def remote(self) -> RemoteRunners:
        """Its runners, once it is set up."""
        assert self._remote is not None
        return self._remote

    def step(self) -> dict[str, Any]:
        """One iteration, and what its runners did."""
        begun = time.monotonic()
        self.remote.begin_iteration()
        result: dict[str, Any] = super().step()
        if self.remote.count:
            result[RUNNERS] = self.remote.metrics(time.monotonic() - begun)
        return result

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """Take back the runners that are here again; RLlib's would wait for those that aren't."""
        return self.remote.take_back()

    def cleanup(self) -> None:
        """End runners and learners."""
        if self._remote is not None:
            self._remote.end()
        super().cleanup()


def _answer(runner: Any, call: Callable[[Any], T]) -> tuple[int, T | EchelonError, Spent]:
    """Runs where the runner is. Errors are values here, because RLlib drops what a remote runner
    raises."""
    begun, cpu = time.monotonic(), time.process_time()
    answer: T | EchelonError
    try:
        answer = call(runner)
    except EchelonError as error:
        answer = error
    spent = Spent(time.monotonic() - begun, time.process_time() - cpu)
    return runner.worker_index, answer, spent
