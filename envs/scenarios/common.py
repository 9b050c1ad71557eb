"""What every scenario's configuration has, and small helpers of the builders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from envs.errors import ConfigError, did_you_mean
from envs.network.injection import EventConfig, inject
from envs.network.network import SupplyNetwork, Timing
from envs.observation.companions import CompanionsOf
from envs.reward import Preference
from envs.scenario import Scenario
from envs.simulation.action_spaces import ActionSpace


@dataclass(frozen=True, kw_only=True)
class ScenarioConfig:
    """Numbers every scenario has."""

    kind: str = ""  # the builder
    name: str = ""
    file: str = ""  # the network file that it was read from
    horizon: int  # periods per episode that count
    # what a period is: hour, shift (eight hours), day, week, month or year
    period_name: str = "day"
    currency: str = "EUR"  # of all costs: its three capital letters (ISO 4217)
    warm_up: int = 0  # periods before, under the base policy, left out of key figures and rewards
    # date of calendar period 0, as YYYY-MM-DD, from which calendars of lanes and reviews, and
    # seasons of demand count; null: Monday 3 January 2000
    start_date: str | None = None
    # the classical policy that learning corrects; null: a quick tuning chooses it where it is
    # needed
    base_policy: str | None
    # policy -> parameter -> value; what is missing is tuned
    policy_params: dict[str, Any] = field(default_factory=dict)
    # weight of the newest period in demand forecasts; 0: demand is stationary, known
    smoothing: float = 0.0
    # periods of demand that agents see one by one (0: only means of it), for state that
    # nobody tells: the first layer of their network becomes a filter
    memory: int = 0
    # other rows whose stock and demand each (node, SKU) row sees, at most; networks that need
    # them, or identity, ask for them by themselves, see docs/how_to/models.md
    companions: int = 0
    # lanes | node | lanes_and_node: neighbours along internal lanes, other SKUs of its node,
    # both
    companions_of: CompanionsOf = CompanionsOf.lanes
    identity: bool = False  # rows see their number within the node kind
    # replayed demand is resampled in stretches of so many periods in training (null: as it
    # was); whole weeks keep the day of the week
    bootstrap_length: int | None = None
    # service against cost, drawn per episode and seen by agents, so that one policy learns
    # the whole front: low, high and at (empty: cost alone); see `envs.reward.Preference`
    preference: dict[str, float | None] = field(default_factory=dict)
    timing: Timing = field(default_factory=Timing)
    # injected disruptions by name, for stress tests and what-if questions; their dates count
    # from the end of the warm-up
    events: dict[str, EventConfig] = field(default_factory=dict)
    # action heads beyond those the network and the base policy call for (smoothing)
    extra_heads: list[str] = field(default_factory=list)
    # residual | direct | days_of_cover, for ablation; see envs/simulation/action_spaces.py
    action_space: ActionSpace = ActionSpace.residual
    # factor on how far actions move levels and gates, where the base policy is far off
    action_scale: float = 1.0
    # the scenario whose learned policies are tried here, on what they never saw
    stress_of: str = ""
    smoke: dict[str, Any] = field(default_factory=dict)  # overrides that make a run take seconds


def make_scenario(config: ScenarioConfig, network: SupplyNetwork, **more: Any) -> Scenario:
    """Put a builder's network and the common numbers together; more: fields of `Scenario`,
    before those of the configuration."""
    common = {f.name for f in fields(ScenarioConfig)} & {f.name for f in fields(Scenario)}
    numbers = {name: getattr(config, name) for name in common}
    if config.base_policy is None:
        del numbers["base_policy"]
    numbers["preference"] = _preference(config.preference)
    numbers["extra_heads"] = tuple(config.extra_heads)
    if config.events:
        network = inject(network, config.events, config.warm_up)
    return Scenario(network=network, config=asdict(config), **{**numbers, **more})


def must_be_days(config: ScenarioConfig, why: str) -> None:
    """Raise ConfigError unless a period is a day. why: what says so."""
    if config.period_name != "day":
        raise ConfigError(f"period_name is '{config.period_name}'; expected 'day': {why}.")


def _preference(numbers: Mapping[str, float | None]) -> Preference | None:
    if not numbers:
        return None
    known = [f.name for f in fields(Preference)]
    for key in numbers:
        if key not in known:
            raise ConfigError(f"preference: '{key}' is unknown.{did_you_mean(str(key), known)}")
    low, high, at = (numbers.get(key) for key in known)
    if low is None or high is None:
        raise ConfigError(
            f"preference: low is {low} and high {high}; expected both, currency per unit not "
            "served at once."
        )
    return Preference(low, high, at)


def whole(quantity: float, order_multiple: float) -> float:
    """Round up to whole order multiples (0: units are divisible)."""
    if order_multiple <= 0:
        return quantity
    return float(-(-quantity // order_multiple) * order_multiple)


def pipeline(mean: float, periods: int, order_multiple: float) -> tuple[float, ...]:
    """Return one period's mean demand arriving in each of the next `periods` periods."""
    return (whole(mean, order_multiple),) * periods


def shortage_cost(backlog_cost: float | None, lost_sale_cost: float | None) -> dict[str, Any]:
    """Turn the two ways customers react into Stock fields. Raises ConfigError for both or none."""
    if (backlog_cost is None) == (lost_sale_cost is None):
        raise ConfigError(
            f"scenario: backlog_cost is {backlog_cost} and lost_sale_cost {lost_sale_cost}; "
            "expected exactly one of them (the other null): customers either wait or leave."
        )
    if backlog_cost is not None:
        return {"backlog_cost": backlog_cost, "p_wait": 1.0}
    assert lost_sale_cost is not None
    return {"lost_sale_cost": lost_sale_cost, "p_wait": 0.0}
