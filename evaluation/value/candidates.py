"""Which classical policies are worth tuning on a network: the strongest known ones of its class."""

from __future__ import annotations

from envs.policies import POLICIES
from envs.scenario import Scenario
from evaluation.value.features import features_of

__all__ = ["candidates"]


def candidates(scenario: Scenario) -> list[str]:
    """Return policy names: the scenario's own first, then what its features call for.

    A rule per feature, so that no scenario is compared with a policy that ignores what matters in
    it (EVALUATION: "the strongest known heuristic per class").
    """
    features = features_of(scenario.compiled)
    several = features["pairs"] > 1
    wanted = [(scenario.base_policy, True), ("base_stock", not several)]
    wanted += [
        ("capped_base_stock", features["lost_share"] > 0.5),
        ("myopic", features["lost_share"] > 0.5 and not several),
        ("dual_balancing", features["lost_share"] > 0.5 and not several),
        ("echelon_base_stock", several),
        ("forecast_base_stock", several or features["hidden_state"] + features["calendar"] > 0),
        ("bayes_base_stock", _demand_moves(scenario)),
        ("status_aware_base_stock", features["seen_state"] > 0),
        ("detecting_base_stock", features["hidden_state"] > 0 and not _demand_moves(scenario)),
        ("s_s", features["fixed_cost"] > 0),
        ("can_order", features["joint_costs"] > 0),
        ("periodic_review", features["joint_costs"] > 0),
        ("q_s", features["joint_costs"] > 0),
        ("capped_dual_index", _expedites(scenario)),
        ("tailored_base_surge", _expedites(scenario)),
        ("forecast_dual_index", _expedites(scenario) and features["calendar"] > 0),
    ]
    names = [name for name, wants in wanted if wants and name in POLICIES]
    return list(dict.fromkeys(names))


def _demand_moves(scenario: Scenario) -> bool:
    return any(stock.demand_regimes for stock in scenario.network.stocks)


def _expedites(scenario: Scenario) -> bool:
    return any(lane.speed.value == "expedite" for lane in scenario.network.lanes)
