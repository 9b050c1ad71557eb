"""Models on the validation traces: in this process, or beside learning in one of Ray's."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from envs.kpis.pairs import EpisodeKpis
from envs.policies import build_policy
from envs.scenario import Scenario
from evaluation.artifact.actor import Actor
from evaluation.artifact.correction import learned_correction
from evaluation.comparison.compare import estimate, independent_samples
from evaluation.comparison.rollout import play
from training.config import Settings, ValidationConfig

Result = Callable[[float], EpisodeKpis | None]

_log = logging.getLogger(__name__)


def paired_gain(scenario: Scenario, base: EpisodeKpis, learned: EpisodeKpis) -> dict[str, float]:
    """Return what is saved of the base policy's cost on the same traces, as a share of it, and the
    ends of its 95 % interval, where more than one trace gives one."""
    cost = independent_samples(scenario, base.cost)
    saved = estimate(cost - independent_samples(scenario, learned.cost))
    whole = abs(float(cost.mean()))
    if not whole:
        return {}
    low, high = saved.interval
    ends = {"_low": low, "": saved.mean, "_high": high}
    return {
        f"validation/paired_gain{end}": x / whole for end, x in ends.items() if math.isfinite(x)
    }


class Validation:
    """Plays models, one lot after the other. It is beside learning where runners are."""

    def __init__(self, scenario: Scenario, settings: Settings) -> None:
        self._player = _Player(scenario, settings.validation)
        self._is_beside = settings.resources.runners > 0
        self._patience = settings.resources.sample_timeout
        self._threads = settings.resources.threads
        self._remote: Any = None

    def begin(self, actors: Mapping[str, Actor]) -> Result:
        """Play these models; returns what gives their KPIs, if they are there in so many seconds:
        with infinity they are, whatever becomes of Ray."""
        if not self._is_beside:
            kpis = self._player.play(actors)
            return lambda seconds: kpis
        if self._remote is None:
            self._remote = _OnRay.remote(self._player, self._threads)
        playing = self._remote.play.remote(dict(actors))

        def result(seconds: float) -> EpisodeKpis | None:
            try:
                if ray.wait([playing], timeout=min(seconds, self._patience))[0]:
                    return ray.get(playing)
                if seconds < math.inf:
                    return None
                lost = f"no answer in {self._patience:g} s"
            except RayTaskError as error:
                raise (error.cause if isinstance(error.cause, Exception) else error) from None
            except RayError as error:
                lost = " ".join(str(error).split()).partition(". ")[0]
            _log.warning("The validation's process is lost (%s): it is played here.", lost)
            self.close()
            return self._player.play(actors)

        return result

    def close(self) -> None:
        """End its process, if there is one."""
        if self._remote is not None:
            ray.kill(self._remote)
            self._remote = None


class _Player:
    def __init__(self, scenario: Scenario, config: ValidationConfig) -> None:
        self._scenario, self._config = scenario, config

    def play(self, actors: Mapping[str, Actor]) -> EpisodeKpis:
        scenario, config = self._scenario, self._config
        name = scenario.base_policy
        base = build_policy(name, scenario.compiled, scenario.policy_params[name])
        correction = learned_correction(actors, scenario)
        return play(
            scenario, base, correction, traces=config.traces, seed=config.seed, split="tune"
        )


class _RemotePlayer:
    def __init__(self, player: _Player, threads: int) -> None:
        torch.set_num_threads(threads)
        self._player = player

    def play(self, actors: Mapping[str, Actor]) -> EpisodeKpis:
        return self._player.play(actors)


# It takes what the runners leave: a CPU of its own may never be free. Where its node is lost it
# starts on another, and plays again.
_OnRay: Any = ray.remote(
    num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD"
)(_RemotePlayer)
