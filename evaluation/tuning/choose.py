"""Which classical policy is best on a scenario, and the quick choice where a network names none."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.errors import ConfigError, DataError
from envs.policies import policy_class
from envs.scenario import Scenario
from evaluation.artifact.network_io import network_hash
from evaluation.comparison.compare import Comparison, compare, estimate, independent_samples
from evaluation.comparison.rollout import Competitor
from evaluation.comparison.units import cost_unit
from evaluation.console import ConsoleProgress
from evaluation.files.sealed_json import read_sealed, write_sealed
from evaluation.tuning.config import ChooseConfig, TuneConfig
from evaluation.tuning.search import tune_policy
from evaluation.value.candidates import candidates

# Seconds on a network of a few stocks; `echelon tune` searches as long as it is told to.
QUICK = TuneConfig(traces=16, budget=40, seed=1_000_000)
CHECK = ChooseConfig(traces=64, seed=2_000_000)
_FILE = "base_policy.json"


class Chosen(NamedTuple):
    """A base policy and the parameters that the quick tuning found for it."""

    name: str
    parameters: dict[str, Any]

    def applied(self, scenario: Scenario) -> Scenario:
        """Return the scenario with this base policy and its parameters."""
        known = {**scenario.policy_params, self.name: self.parameters}
        return replace(scenario, base_policy=self.name, policy_params=known)


def unfit(scenario: Scenario, name: str) -> str | None:
    """Return why a policy cannot apply to the network, or None.

    Raises ConfigError for an unknown policy.
    """
    cls = policy_class(name)
    if (reason := cls.unfit(scenario.compiled)) is not None:
        return reason
    try:
        Competitor(name, name).build(scenario)
    except ConfigError as error:
        return str(error)
    if all(parameter.scale is None for parameter in cls.tunable(scenario.compiled).values()):
        return "nothing to tune"
    return None


def best_rule(comparison: Comparison) -> int:
    """Return the first policy that the one of lowest cost does not beat by a paired interval."""
    scenario = comparison.scenario
    samples = [independent_samples(scenario, e.kpis.cost) for e in comparison.policies]
    best = int(np.argmin([s.mean() for s in samples]))
    for i, sample in enumerate(samples):
        if i == best or estimate(sample - samples[best]).interval[0] <= 0.0:
            return i
    return best


def choose_base_policy(scenario: Scenario, folder: Path, progress: ConsoleProgress) -> Chosen:
    """Tune the policies that the network calls for a little, and take the best rule.

    Parameters that the scenario has are taken as they are. The choice is printed and kept in
    `folder`, where it is found again for the same network. Raises ConfigError where none applies.
    """
    path, digest = folder / _FILE, network_hash(scenario)
    record = _read(path)
    if record is None or record.get("network_sha256") != digest:
        record = {"network_sha256": digest, **_choose(scenario, progress)}
        write_sealed(path, record)
    chosen = record["base_policy"]
    costs = ", ".join(f"{name} {p['cost']['mean']:,.5g}" for name, p in record["policies"].items())
    progress.console.print(
        f"Base policy: {chosen}, the best rule of a quick tuning ({QUICK.budget} parameter sets a "
        f"policy on {QUICK.traces} episodes, compared on {CHECK.traces} others). "
        f"{costs} {cost_unit(scenario)}. scenario.base_policy=NAME names another.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return Chosen(chosen, record["policies"][chosen]["parameters"])


def _choose(scenario: Scenario, progress: ConsoleProgress) -> dict[str, Any]:
    names = [name for name in candidates(scenario) if unfit(scenario, name) is None]
    if not names:
        raise ConfigError(
            f"scenario '{scenario.name}': no classical policy with parameters to tune applies to "
            "the network; name one: scenario.base_policy=NAME."
        )
    parameters = {
        name: dict(
            scenario.policy_params.get(name)
            or tune_policy(scenario, name, QUICK, progress).parameters
        )
        for name in names
    }
    comparison = compare(
        scenario,
        [Competitor(name, name, found) for name, found in parameters.items()],
        traces=CHECK.traces,
        seed=CHECK.seed,
        split="tune",
        progress=progress,
    )
    return {
        "base_policy": names[best_rule(comparison)],
        "tuning": asdict(QUICK),
        "check": asdict(CHECK),
        "policies": {
            e.competitor.name: {
                "cost": e.cost.as_dict(),
                "parameters": parameters[e.competitor.name],
            }
            for e in comparison.policies
        },
    }


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return read_sealed(path, error=DataError)
    except DataError:
        return None  # damaged: choose again
