"""Classical policies, one file each, and how to build one by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from envs.compiled.network import CompiledNetwork
from envs.errors import ConfigError, did_you_mean
from envs.policies.base import Policy, per_pair
from envs.policies.base_stock import BaseStock
from envs.policies.bayes_base_stock import BayesBaseStock
from envs.policies.can_order import CanOrder
from envs.policies.capacity_checked import CapacityChecked
from envs.policies.capped_base_stock import CappedBaseStock
from envs.policies.constant_order import ConstantOrder
from envs.policies.detecting import DetectingBaseStock
from envs.policies.dual_sourcing import CappedDualIndex, DualIndex, SingleIndex, TailoredBaseSurge
from envs.policies.echelon_base_stock import EchelonBaseStock
from envs.policies.ewma_base_stock import EwmaBaseStock
from envs.policies.expected_path import ExpectedPath, FixedPath
from envs.policies.forecast_base_stock import ForecastBaseStock
from envs.policies.forecast_dual_index import ForecastDualIndex
from envs.policies.myopic import DualBalancing, Myopic
from envs.policies.nearest_with_stock import NearestAlways, NearestWithStock
from envs.policies.periodic_review import PeriodicReview
from envs.policies.q_s import JointQuantity
from envs.policies.r_q import ReorderPointLots
from envs.policies.rolling_lp import RollingLP
from envs.policies.s_s import ReorderPointOrderUpTo
from envs.policies.status_aware import StatusAwareBaseStock
from envs.policies.sterman import Sterman

# In this order they are tried and compared: where two cost the same, the first one is chosen.
POLICIES: dict[str, type[Policy]] = {
    policy.name: policy
    for policy in (
        BaseStock,
        CappedBaseStock,
        Myopic,
        DualBalancing,
        EchelonBaseStock,
        ForecastBaseStock,
        EwmaBaseStock,
        BayesBaseStock,
        StatusAwareBaseStock,
        DetectingBaseStock,
        ReorderPointOrderUpTo,
        ReorderPointLots,
        CanOrder,
        PeriodicReview,
        JointQuantity,
        SingleIndex,
        DualIndex,
        CappedDualIndex,
        TailoredBaseSurge,
        ForecastDualIndex,
        CapacityChecked,
        ConstantOrder,
        Sterman,
        NearestWithStock,
        NearestAlways,
        FixedPath,
        ExpectedPath,
        RollingLP,
    )
}


def policy_class(name: str, others: Iterable[str] = ()) -> type[Policy]:
    """Return the class of a policy; others: names beside the policies' that the user may mean.

    Raises ConfigError for an unknown name.
    """
    if name not in POLICIES:
        known = did_you_mean(name, [*POLICIES, *others])
        raise ConfigError(f"policy '{name}' is unknown.{known}")
    return POLICIES[name]


def build_policy(name: str, net: CompiledNetwork, parameters: Mapping[str, Any]) -> Policy:
    """Build a policy; what `parameters` leaves out keeps its textbook start value.

    A value is a number, or a mapping from node, node kind or `sku@node` to numbers.
    Raises ConfigError for an unknown policy, parameter or pair.
    """
    cls = policy_class(name)
    tunable = cls.tunable(net)
    for key in parameters:
        if key not in tunable:
            raise ConfigError(
                f"policy_params.{name}: '{key}' is unknown.{did_you_mean(str(key), tunable)}"
            )
    values = {
        key: per_pair(net, name, key, parameters[key]) if key in parameters else parameter.start
        for key, parameter in tunable.items()
    }
    return cls(net, {key: value[:, None] for key, value in values.items()})
