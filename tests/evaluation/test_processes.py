"""A process registered here, as the README says: simulated, exported, shown and bounded."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import stats

from envs.environment.batched_env import BatchedEnv
from envs.errors import ArtifactError, ConfigError, NetworkError
from envs.network import demand as processes
from envs.network import lead_time as lead_times
from envs.network import regime as regime_processes
from envs.network.demand import Demand, DemandConfig
from envs.network.lead_time import LeadTime
from envs.network.regime import Regime, RegimeProcess, RegimeState
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.explicit import ExplicitConfig
from evaluation.artifact.network_io import network_hash, scenario_from_plain, scenario_to_plain
from evaluation.optima.bound import BoundKind
from evaluation.optima.exact import solve_scenario
from evaluation.optima.hindsight import hindsight_bound
from evaluation.show.tables import headline, network_tables


@dataclass(frozen=True)
class Binomial:
    """`high` customers, each of whom buys a unit with probability mean / high."""

    mean: float
    high: int

    def distribution(self, factor: float) -> Any:
        return stats.binom(self.high, min(1.0, self.mean * factor / self.high))


@dataclass(frozen=True)
class Sticky(RegimeProcess):
    """Stays with probability `stay`; else each other state is as likely."""

    stay: float

    def step(self, states: int) -> Any:
        return np.where(np.eye(states) == 1.0, self.stay, (1.0 - self.stay) / (states - 1))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line in each registry."""
    monkeypatch.setitem(processes.PROCESSES, "binomial", Binomial)
    monkeypatch.setitem(lead_times.DELAYS, "uniform", _uniform)
    monkeypatch.setitem(regime_processes.REGIME_PROCESSES, "stay", Sticky)


def _uniform(mean: float, sd: float) -> Any:
    half = np.sqrt(3.0) * sd
    return stats.uniform(mean - half, 2.0 * half)


def shop(market: dict[str, Any] | None = None, **lane: Any) -> Scenario:
    return build_scenario(
        ExplicitConfig(
            kind="explicit", name="shop", horizon=20, base_policy="base_stock",
            nodes={"shop": "store"}, skus={"tea": 0.0},
            stocks={
                "shop": {
                    "node": "shop", "sku": "tea", "holding_cost": 1.0, "backlog_cost": 9.0,
                    "initial_stock": 9.0,
                    "demand": {"distribution": "binomial", "mean": 4.0, "high": 10},
                }
            },
            lanes={"buy": {"node": "shop", "sku": "tea", "order_multiple": 1, **lane}},
            regimes={"market": market} if market else {},
        )
    )  # fmt: skip


def back(scenario: Scenario) -> Scenario:
    return scenario_from_plain(json.loads(json.dumps(scenario_to_plain(scenario))))


def play(scenario: Scenario) -> tuple[Any, Any]:
    """[T, B] units of demand, currency."""
    env = BatchedEnv(scenario, 200)
    env.reset(3)
    demand, cost = [], []
    for _ in range(scenario.horizon):
        env.step(env.no_action)
        demand.append(env.flows.demand[0].copy())
        cost.append(env.flows.total_cost.sum(axis=0).copy())
    return np.array(demand), np.array(cost)


@pytest.mark.usefixtures("registered")
def test_a_demand_process_is_complete_with_its_line_in_the_registry() -> None:
    """Drawn as it says, exported and loaded without loss, shown, and its optimum known."""
    scenario = shop(lead_time=1)
    demand = scenario.network.stocks[0].demand
    assert demand is not None
    assert demand.process == Binomial(4.0, 10)
    assert (demand.mean, demand.standard_deviation) == pytest.approx((4.0, np.sqrt(2.4)))
    units, cost = play(scenario)
    assert units.mean() == pytest.approx(4.0, abs=0.1)
    assert units.max() <= 10
    loaded = back(scenario)
    assert network_hash(loaded) == network_hash(scenario)
    np.testing.assert_array_equal(play(loaded)[1], cost)
    assert "1 stocked pair" in headline(scenario)
    assert network_tables(scenario)
    # A newsvendor over two periods' demand: critical ratio 0.9.
    level = np.arange(21)
    two = stats.binom(20, 0.4)
    shortage = np.array([(np.maximum(level - s, 0) * two.pmf(level)).sum() for s in level])
    excess = level - two.mean() + shortage
    best = solve_scenario(scenario)
    assert best.kind is BoundKind.exact
    assert best.cost == pytest.approx((excess + 9.0 * shortage).min(), rel=1e-6)


@pytest.mark.usefixtures("registered")
def test_a_delay_is_complete_with_its_line_in_the_registry() -> None:
    """Uniform over 1 to 3 periods: drawn so, exported, loaded, shown and bounded."""
    times: dict[str, Any] = {"lead_time_delay_mean": 1.0, "lead_time_delay_sd": 0.5}
    scenario = shop(lead_time=1, lead_time_delay="uniform", **times)
    [lane] = scenario.network.lanes
    assert lane.lead_time == LeadTime(1, 1.0, 0.5, delay="uniform")
    low = 1.0 - np.sqrt(0.75)
    early = (0.5 - low) / (2.0 * np.sqrt(0.75))
    assert lane.lead_time.probabilities() == pytest.approx([early, 1.0 - 2.0 * early, early])
    loaded = back(scenario)
    assert loaded.network.lanes == scenario.network.lanes
    np.testing.assert_array_equal(play(loaded)[1], play(scenario)[1])
    gamma = shop(lead_time=1, **times)
    assert "delay" not in scenario_to_plain(gamma)["network"]["lanes"][0]["lead_time"]
    assert (play(gamma)[1] != play(scenario)[1]).any()
    assert network_tables(scenario)
    found = hindsight_bound(scenario, traces=2, seed=1)
    assert 0.0 < found.cost < play(scenario)[1].mean()


MARKET: dict[str, Any] = {"states": {"low": {"cost": 0.5}, "high": {"cost": 1.5}}, "seen_after": 0}


@pytest.mark.usefixtures("registered")
def test_a_regime_process_is_complete_with_its_line_in_the_registry() -> None:
    """One that stays for 20 periods: drawn so, exported, loaded, shown and bounded, to the digit
    as the Markov chain that it is."""
    lane = {"lead_time": 1, "unit_cost": 2.0, "regimes": ["market"]}
    scenario = shop({**MARKET, "stay": 0.95}, **lane)
    [regime] = scenario.network.regimes
    assert regime.process == Sticky(0.95)
    assert regime.stationary() == pytest.approx([0.5, 0.5])
    chain = {**MARKET, "transition": [[0.95, 0.05], [0.05, 0.95]]}
    same = shop(chain, **lane)
    cost = play(scenario)[1]
    np.testing.assert_array_equal(cost, play(same)[1])
    [written] = scenario_to_plain(scenario)["network"]["regimes"]
    assert (written["stay"], written["transition"], written["schedule"]) == (0.95, [], None)
    assert "stay" not in scenario_to_plain(same)["network"]["regimes"][0]
    loaded = back(scenario)
    assert loaded.network.regimes == scenario.network.regimes
    np.testing.assert_array_equal(play(loaded)[1], cost)
    [table] = [t for t in network_tables(scenario) if t.columns[1].header == "path"]
    assert list(table.columns[1].cells) == ["Sticky(stay=0.95)"]
    best = solve_scenario(scenario)
    assert best.kind is BoundKind.exact
    assert best.cost == pytest.approx(solve_scenario(same).cost, rel=1e-9)


def test_a_regime_without_one_process_is_refused(registered: None) -> None:
    """When the scenario is built: none, two, a kind of no registry, and by who loads it."""
    plain = scenario_to_plain(shop({**MARKET, "stay": 0.9}))
    with pytest.raises(ConfigError, match=r"market has none of transition, schedule, stay"):
        shop(MARKET)
    with pytest.raises(ConfigError, match=r"market has schedule and stay of .*expected one"):
        shop({**MARKET, "stay": 0.9, "schedule": {"first": 3}})
    with pytest.raises(ConfigError, match=r"regimes\.market\.stay is 'long'; expected a finite"):
        shop({**MARKET, "stay": "long"})
    del regime_processes.REGIME_PROCESSES["stay"]
    with pytest.raises(ConfigError, match=r"'stay' is unknown in regimes\.market"):
        shop({**MARKET, "stay": 0.9})
    with pytest.raises(NetworkError, match=r"process Sticky isn't registered.*REGIME_PROCESSES"):
        Regime("market", (RegimeState("a"), RegimeState("b")), Sticky(0.9))
    with pytest.raises(ArtifactError, match=r"'stay' is unknown in network\.regimes"):
        scenario_from_plain(plain)


def test_a_process_of_no_registry_is_refused_before_any_work(registered: None) -> None:
    """By the first object that holds it, and by who loads what another program registered."""
    plain = scenario_to_plain(shop())
    del processes.PROCESSES["binomial"]
    with pytest.raises(ConfigError, match=r"process Binomial isn't registered.*PROCESSES"):
        Demand(4.0, 1.0, Binomial(4.0, 10))
    with pytest.raises(ConfigError, match="distribution 'binomial' is unknown"):
        shop()
    with pytest.raises(ArtifactError, match=r"process\.name is 'binomial'; expected poisson"):
        scenario_from_plain(plain)


class Loose:
    def distribution(self, factor: float) -> Any: ...


@dataclass
class Thawed:
    mean: float

    def distribution(self, factor: float) -> Any: ...


@dataclass(frozen=True)
class Listed:
    sizes: tuple[float, ...]

    def distribution(self, factor: float) -> Any: ...


@dataclass(frozen=True)
class Mute:
    mean: float


@pytest.mark.parametrize(
    ("process", "why"),
    [
        (Loose(), "expected a frozen dataclass"),
        (Thawed(3.0), "expected a frozen dataclass"),
        (Listed((1.0, 2.0)), r"not of sizes"),
        (Mute(3.0), r"with a method distribution"),
    ],
)
def test_a_process_that_could_not_be_exported_is_refused(
    process: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with a line in the registry: nothing trains that can't be stored."""
    monkeypatch.setitem(processes.PROCESSES, "odd", type(process))
    with pytest.raises(ConfigError, match=why):
        Demand(3.0, 1.0, process)


def test_a_number_that_the_configuration_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process's numbers come from the fields of DemandConfig."""

    @dataclass(frozen=True)
    class Odd:
        trials: float

    monkeypatch.setitem(processes.PROCESSES, "odd", Odd)
    with pytest.raises(ConfigError, match="trials is None"):
        Demand.from_config(DemandConfig("odd", mean=3.0), 0)


def test_what_came_later_is_left_out_at_its_default(shop: Scenario) -> None:
    """An artifact of before has no `delay`: it loads, and the hash is what it was."""
    plain = scenario_to_plain(shop)
    assert "delay" not in plain["network"]["lanes"][0]["lead_time"]
    plain["network"]["lanes"][0]["lead_time"]["delay"] = "gamma"
    assert network_hash(scenario_from_plain(plain)) == network_hash(shop)
    later = dataclasses.replace(shop.network.lanes[0], lead_time=LeadTime(1, 1.0, 1.0))
    assert later.lead_time.delay == "gamma"
