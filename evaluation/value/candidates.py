"""Which classical policies are worth tuning on a network: the strongest known ones of its class."""

from __future__ import annotations

from envs.policies import POLICIES
from envs.scenario import Scenario


def candidates(scenario: Scenario) -> list[str]:
    """Return policy names: the scenario's own first, then those that suit its network.

    Every policy says where it suits, so that no scenario is compared with one that ignores what
    matters in it.
    """
    suit = [name for name, policy in POLICIES.items() if policy.suits(scenario.compiled)]
    return list(dict.fromkeys([scenario.base_policy, *suit]))
