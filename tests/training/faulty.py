"""The real simulator with one fault each. Here, where Ray workers can import it from."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.environment.batched_env import BatchedEnv
from training.rllib.env_factory import ScenarioEnvFactory


class Spoiled(BatchedEnv):
    """The real simulator, with one number of one step replaced."""

    spoil = ("observation", 5, 2, float("nan"))

    def step(self, action: Any) -> Any:
        observation, reward, truncated = super().step(action)
        what, period, row, value = self.spoil
        if self.elapsed == period and (action != 0).any():
            if what == "observation":
                observation[row, 3, 4] = value
            else:
                reward[row, 4] = value
        return observation, reward, truncated


@dataclass(frozen=True)
class SpoiledFactory:
    """Builds it."""

    factory: ScenarioEnvFactory
    what: str = "observation"
    value: float = float("nan")

    def __call__(self, batch_size: int) -> BatchedEnv:
        env = Spoiled(self.factory.scenario, batch_size)
        env.spoil = (self.what, 5, 2, self.value)
        return env


class Flaky(BatchedEnv):
    """The real simulator; its first steps with an action fail."""

    failures = 0

    def step(self, action: Any) -> Any:
        if (action != 0).any() and Flaky.failures > 0:
            Flaky.failures -= 1
            raise OSError("lost connection")
        return super().step(action)


@dataclass(frozen=True)
class FlakyFactory:
    """Builds it."""

    factory: ScenarioEnvFactory

    def __call__(self, batch_size: int) -> BatchedEnv:
        return Flaky(self.factory.scenario, batch_size)


class Hanging(BatchedEnv):
    """The real simulator; a marker file makes one step of one runner never return."""

    marker = ""

    def step(self, action: Any) -> Any:
        if (action != 0).any() and os.path.exists(self.marker):
            os.remove(self.marker)
            time.sleep(3600)
        return super().step(action)


@dataclass(frozen=True)
class HangingFactory:
    """Builds it."""

    factory: ScenarioEnvFactory
    marker: str

    def __call__(self, batch_size: int) -> BatchedEnv:
        env = Hanging(self.factory.scenario, batch_size)
        env.marker = self.marker
        return env


class Broken(BatchedEnv):
    """The real simulator; where a marker file says so, the close of a period with an action raises,
    hangs, or ends the process: once, or with "always" every time and everywhere."""

    marker = ""

    def close_period(self, action: Any) -> None:
        if (action != 0).any() and (what := self._fault()):
            if what == "hang":
                time.sleep(3600)
            elif what == "end":
                os._exit(3)
            raise OSError("lost connection")
        super().close_period(action)

    def _fault(self) -> str:
        try:
            what, _, always = Path(self.marker).read_text(encoding="utf-8").partition(" ")
            if not always:
                os.remove(self.marker)
        except FileNotFoundError:  # none, or another process has it
            return ""
        return what


@dataclass(frozen=True)
class BrokenFactory:
    """Builds it."""

    factory: ScenarioEnvFactory
    marker: str

    def __call__(self, batch_size: int) -> BatchedEnv:
        env = Broken(self.factory.scenario, batch_size, reward=self.factory.reward)
        env.marker = self.marker
        return env
