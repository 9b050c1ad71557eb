"""The space of a sweep, checked before anything is trained, and the log of its trials.

space = read_space({"algorithm.learning_rate": {"low": 1e-4, "high": 1e-2}}, compose)
trial_arguments(space, seed=0, trial=3)  # ["algorithm.learning_rate=0.00123"]
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.search.sample import Domain

from envs.errors import ConfigError, did_you_mean
from evaluation.files.json_lines import JsonLines, read_lines

Space = dict[str, Domain]
State = Literal["finished", "stopped early", "failed"]

_FORMS = "{choices: [...]} or {low: ..., high: ..., scale: linear | log}"


def read_space(
    space: Mapping[str, Any], compose: Callable[[Sequence[str]], Mapping[str, Any]]
) -> Space:
    """Return Tune's domain of every key.

    compose: from overrides to the values of `echelon train` by dotted key.

    Every choice and both ends of every range are composed as `echelon train` would compose them,
    so a key or type that it refuses is refused here. Raises ConfigError, in one line.
    """
    if not space:
        raise ConfigError(
            "space is empty; expected keys of `echelon train` to vary, such as "
            "space='{algorithm.learning_rate: {low: 1e-4, high: 1e-2, scale: log}}'."
        )
    known = list(compose([]))
    domains: Space = {}
    for key, given in space.items():
        if key not in known:
            close = did_you_mean(key, known).partition(" Known: ")[0]
            raise ConfigError(
                f"space: key '{key}' is unknown.{close} `echelon train --help` lists the keys."
            )
        domains[key], probes = _domain(key, given)
        for value in probes:
            compose([_override(key, value)])
    return domains


def trial_arguments(space: Space, seed: int, trial: int) -> list[str]:
    """Draw the overrides of a trial: the same for the same seed, however many others there are."""
    # Tune draws from NumPy's older generator; one per trial keeps a resumed sweep the same.
    state = np.random.RandomState(np.random.SeedSequence([seed, trial]).generate_state(1))
    return [_override(key, _plain(space[key].sample(random_state=state))) for key in sorted(space)]


def keep_credentials_out() -> None:
    """Let Tune not send those of object stores with every trial: Ray writes what it sends into the
    logs of its nodes, and these have credentials of their own."""
    sent = class_cache.ENV_VARS_TO_PROPAGATE
    sent -= {name for name in sent if name.startswith("AWS_")}


def _domain(key: str, given: Any) -> tuple[Domain, list[Any]]:
    """Return the domain and the values to try on the schema."""
    if isinstance(given, Mapping) and set(given) == {"choices"}:
        choices = given["choices"]
        if not isinstance(choices, list) or not choices:
            raise ConfigError(
                f"space: choices of '{key}' are {choices}; expected a list of values."
            )
        return tune.choice(choices), choices
    if not isinstance(given, Mapping) or not {"low", "high"} <= set(given) <= {
        "low", "high", "scale",
    }:  # fmt: skip
        raise ConfigError(f"space: '{key}' is {given}; expected {_FORMS}.")
    low, high, scale = given["low"], given["high"], given.get("scale", "linear")
    numbers = all(
        isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end)
        for end in (low, high)
    )
    if not numbers or not low < high:
        raise ConfigError(f"space: '{key}' is from {low} to {high}; expected numbers, low < high.")
    if scale not in ("linear", "log") or (scale == "log" and low <= 0):
        raise ConfigError(
            f"space: scale of '{key}' is '{scale}' from {low} to {high}; expected linear, or log "
            "with a positive low."
        )
    if isinstance(low, int) and isinstance(high, int):  # both ends can be drawn
        draw = tune.lograndint if scale == "log" else tune.randint
        return draw(low, high + 1), [low, high]
    draw = tune.loguniform if scale == "log" else tune.uniform
    return draw(float(low), float(high)), [float(low), float(high)]


def _override(key: str, value: Any) -> str:
    return f"{key}={json.dumps(value)}"  # Hydra reads JSON's numbers, strings and lists


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True)
class Trial:
    """A trial that has ended."""

    number: int
    arguments: tuple[str, ...]
    state: State
    curve: tuple[tuple[float, float], ...] = ()  # (seconds, validation cost per period)
    why: str = ""  # of a failure

    @property
    def best_cost(self) -> float:
        """Lowest validation cost per period; infinite where there was no validation."""
        return (
            math.inf
            if self.state == "failed"
            else min((c for _, c in self.curve), default=math.inf)
        )


class TrialLog(JsonLines):
    """Ended trials."""

    def read(self) -> list[Trial]:
        """Return the trials, best first, failed ones last."""
        trials: dict[int, Trial] = {}
        for plain in read_lines(self.path)[0]:
            curve = tuple((float(s), float(c)) for s, c in plain["curve"])
            arguments = tuple(plain["arguments"])
            trials[plain["number"]] = Trial(**{**plain, "arguments": arguments, "curve": curve})
        return sorted(trials.values(), key=lambda trial: (trial.best_cost, trial.number))


def as_table(trials: Sequence[Trial], unit: str) -> tuple[list[str], list[list[Any]]]:
    """Return the headings and rows of trials in the order given; unit: of costs."""
    columns = ["trial", f"best validation cost [{unit}]", "seconds", "state", "options"]
    rows = []
    for trial in trials:
        cost = trial.best_cost if math.isfinite(trial.best_cost) else "-"
        seconds = f"{trial.curve[-1][0]:.0f}" if trial.curve else "-"
        state = f"{trial.state}: {trial.why}" if trial.why else trial.state
        rows.append([str(trial.number), cost, seconds, state, " ".join(trial.arguments)])
    return columns, rows
