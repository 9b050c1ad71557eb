"""How a base policy's orders move with stock: as the policy itself says."""

from __future__ import annotations

from envs.errors import ConfigError
from envs.policies.base import Follows, Policy, View, Weights
from envs.simulation.action_spaces import ActionSpace


def declared_weights(policy: Policy, space: ActionSpace, view: View) -> dict[str, Weights]:
    """Return what a unit more of each position takes off the order, and off what is expedited.

    space: what the first action head means: only residuals start at the policy's own order.

    Raises:
        ConfigError: the policy doesn't declare it.
    """
    weights = {"order": policy.order_weights(view)}
    if space is ActionSpace.direct:
        weights["order"] = {}
    elif space is ActionSpace.days_of_cover:
        weights["order"] = Follows.inventory_position.weights
    if "expedite" in policy.decides:
        weights["expedite"] = policy.expedite_weights(view)
    declared = {field: known for field, known in weights.items() if known is not None}
    if len(declared) < len(weights):
        missing = "expedite_follows" if "order" in declared else "follows"
        reason = f" ({policy.approximate})" if policy.approximate else ""
        raise ConfigError(
            f"algorithm=pathwise learns from how orders move with stock, and policy "
            f"'{policy.name}' doesn't declare it{reason}; set `{missing}` in {class_path(policy)}, "
            f"e.g. {missing} = Follows.inventory_position, or take algorithm=ppo."
        )
    return declared


def class_path(policy: Policy) -> str:
    """Return where a policy's class is, for messages."""
    return f"{type(policy).__module__}.{type(policy).__qualname__}"
