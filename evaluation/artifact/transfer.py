"""Base policies of a trained artifact on a network it has not seen.

The learned correction needs nothing: its models act on rows, whatever their number. The base
policy's parameters do: a warehouse's level for 10 stores is no level for 50. A tuned parameter is
carried over as what it is to the tuner, steps from the textbook value: start + x scale, with start
and scale of the network at hand, and x the mean of the pairs of that node kind in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.compiled.network import CompiledNetwork
from envs.errors import ConfigError
from envs.policies import policy_class
from envs.policies.base import Parameter, per_pair
from envs.scenario import Scenario
from envs.types import Floats
from evaluation.artifact.artifact import Artifact
from evaluation.artifact.correction import learned_correction
from evaluation.artifact.network_io import network_hash, scenario_from_plain
from evaluation.comparison.rollout import Competitor
from evaluation.tuning.search import compact, stock_classes


def base_parameters(artifact: Artifact, scenario: Scenario) -> dict[str, Any]:
    """Parameters of the artifact's base policy for `scenario`, whatever it was trained on.

    Raises:
        ArtifactError: the network it was trained on can't be read.
        ConfigError: a node kind of `scenario` was not in training.
    """
    base = artifact.manifest["base_policy"]
    same = artifact.manifest["network_sha256"] == network_hash(scenario)
    if same or artifact.network is None:
        return dict(base["parameters"])
    trained_on = scenario_from_plain(artifact.network)
    return parameters_for(scenario, base["name"], base["parameters"], trained_on)


def seen_in_training(artifact: Artifact, scenario: Scenario) -> Scenario:
    """The scenario, its rows seeing what the artifact's models were trained to see.

    Raises ArtifactError when the network it was trained on can't be read.
    """
    if artifact.network is None:
        return scenario
    trained_on = scenario_from_plain(artifact.network)
    return replace(
        scenario,
        memory=trained_on.memory,
        companions=trained_on.companions,
        companions_of=trained_on.companions_of,
        identity=trained_on.identity,
        action_scale=trained_on.action_scale,
    )


def learned_competitor(
    artifact: Artifact, scenario: Scenario, parameters: Mapping[str, Any] | None = None
) -> Competitor:
    """The artifact's policy on a scenario that shows what was `seen_in_training`.

    parameters: of its base policy; None: `base_parameters`, and its errors.
    """
    correction = learned_correction(artifact.policy.actors, scenario)
    parameters = parameters or base_parameters(artifact, scenario)
    base = artifact.manifest["base_policy"]["name"]
    return Competitor("learned", base, parameters, correction, origin="artifact")


def parameters_for(
    scenario: Scenario, policy: str, parameters: Mapping[str, Any], trained_on: Scenario
) -> dict[str, Any]:
    """The policy's parameters for `scenario`, when these are its parameters on `trained_on`.

    Unchanged where both stock the same pairs. Else one value per node kind, or one per
    `sku@node` where its pairs need different ones.

    Raises:
        ConfigError: a node kind of `scenario` was not in training.
    """
    new, old = scenario.compiled, trained_on.compiled
    if [stock.label for stock in new.network.stocks] == [s.label for s in old.network.stocks]:
        return dict(parameters)
    kinds, known = stock_classes(scenario, "kind"), stock_classes(trained_on, "kind")
    unknown = sorted(set(kinds) - set(known))
    if unknown:
        raise ConfigError(
            f"scenario '{scenario.name}' has nodes of kind '{unknown[0]}'; the policy was trained "
            f"with {', '.join(sorted(set(known)))} only; train on a network with that kind."
        )
    tunable, old_tunable = (
        policy_class(policy).tunable(_with_common_demand(net)) for net in (new, old)
    )
    result: dict[str, Any] = {}
    for name, given in parameters.items():
        values = per_pair(old, policy, name, given)
        steps = {kind: _steps(old_tunable[name], values, known == kind) for kind in set(kinds)}
        moved = np.empty(len(kinds))
        for kind, x in steps.items():
            rows = kinds == kind
            if tunable[name].scale is None:  # never searched: the number itself is meant
                moved[rows] = values[known == kind].mean()
            else:
                moved[rows] = tunable[name].moved(np.full(len(kinds), x))[rows]
        labels = [stock.label for stock in new.network.stocks]
        result[name] = compact(moved, kinds, labels)
    return result


def _with_common_demand(net: CompiledNetwork) -> CompiledNetwork:
    """The network with the spread of correlated customers' sum in `demand_sd`.

    `demand_sd` adds up variances, as textbook levels do. The search for the best level of ten
    stores makes up for what their demands have in common; for fifty it has to be more.
    """
    leaves = net.arrays.stocks.leaves
    stocks = [net.network.stocks[pair] for pair in net.customer_pair]
    common = np.array([s.demand.correlation if s.demand else 0.0 for s in stocks])
    pair = leaves.rows
    sd, common = leaves.value * net.demand.customer_sd[leaves.index], common[leaves.index]
    count = len(net.demand.sd)
    own = np.bincount(pair, sd**2 * (1.0 - common), minlength=count)
    shared = np.bincount(pair, sd * np.sqrt(common), minlength=count)
    return replace(net, demand=net.demand._replace(sd=np.sqrt(own + shared**2)))


def _steps(parameter: Parameter, values: Floats, rows: NDArray[np.bool_]) -> float:
    """Mean distance of a kind's values from the start, in steps."""
    if parameter.scale is None:
        return 0.0
    scale = parameter.scale[rows]
    steps = (values[rows] - parameter.start[rows])[scale > 0] / scale[scale > 0]
    return float(steps.mean()) if steps.size else 0.0
