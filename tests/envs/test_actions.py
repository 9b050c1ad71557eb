"""What every action head moves, and that heads nobody can use are absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from conf.compose import compose
from envs.compiled.network import CompiledNetwork
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput, Resource, ResourceUse, Speed
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.policies import build_policy
from envs.policies.base import Policy, Target, View
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.simulation.action_spaces import ActionSpace
from envs.types import Floats
from evaluation.commands.evaluate import EvaluateCommand

LEVEL, STOCK = 50.0, 20.0  # every pair misses 30 units


class Everything(Policy):
    """Wants the same of every pair, and has an opinion about all there is."""

    name: ClassVar[str] = "everything"
    decides: ClassVar[frozenset[str]] = frozenset(
        {"expedite", "cap", "smoothing", "gate", "can_gate"}
    )

    def __init__(self, net: CompiledNetwork, wants: Mapping[str, float]) -> None:
        self._net, self._wants = net, dict(wants)

    def target(self, view: View) -> Target:
        shape = view.state.on_hand.shape
        return Target(**{name: np.full(shape, value) for name, value in self._wants.items()})

    def spread(self, view: View) -> Floats:
        return np.full(view.state.on_hand.shape, 5.0)


WANTS = {
    "order": 30.0,
    "expedite": 10.0,
    "cap": 15.0,
    "smoothing": 1.0,
    "gate": 1.0,
    "can_gate": 1.0,
}


def network(pairs: int = 1, *lanes: Lane, **fields: Any) -> SupplyNetwork:
    """Shops of one SKU each; more lanes to the first; a joint supplier where there are several."""
    demand = Demand.from_config(DemandConfig("poisson", mean=4.0), 0)
    uses = (ResourceUse("supplier"),) if pairs > 1 else ()
    return SupplyNetwork(
        tuple(Node(f"shop_{i}", "store") for i in range(pairs)),
        (Sku("tea"),),
        tuple(Stock(f"shop_{i}", "tea", demand=demand, initial_stock=STOCK) for i in range(pairs)),
        (
            *(
                Lane(f"sea_{i}", f"shop_{i}", "tea", LeadTime(3), resources=uses, **fields)
                for i in range(pairs)
            ),
            *lanes,
        ),
        (Resource("supplier", fixed_cost=50.0),) if pairs > 1 else (),
    )


AIR = Lane("air", "shop_0", "tea", LeadTime(0), speed=Speed.expedite)
ROAD = Lane("road", "shop_0", "tea", LeadTime(2), base_share=0.0)


def orders(
    net: SupplyNetwork, wants: Mapping[str, float], actions: Mapping[str, float], **fields: Any
) -> dict[str, float]:
    """Return lane -> units ordered in the first period, with these actions of the first kind."""
    scenario = Scenario("heads", net, horizon=10, **fields)
    env = BatchedEnv(scenario, 1, base_policy=Everything(scenario.compiled, wants))
    env.reset(0)
    action = env.no_action.copy()
    for name, value in actions.items():
        action[:, env.groups[0].heads.index(name)] = value
    env.close_period(action)
    return {lane.id: float(env.flows.raw_order[q, 0]) for q, lane in enumerate(net.lanes)}


def test_heads_stand_where_they_are_of_use() -> None:
    """A kind has the heads it can use; the names say which."""

    def heads(net: SupplyNetwork, policy: str, **fields: Any) -> tuple[str, ...]:
        scenario = Scenario("heads", net, horizon=10, base_policy=policy, **fields)
        return BatchedEnv(scenario, 1).groups[0].heads

    assert heads(network(), "base_stock") == ("level",)
    assert heads(network(1, AIR), "base_stock") == ("level",)
    assert heads(network(1, AIR), "capped_dual_index") == ("level", "expedite", "cap")
    assert heads(network(1, ROAD), "base_stock") == ("level", "share_0", "share_1")
    assert heads(network(1, ROAD, AIR), "dual_index") == (
        "level", "expedite", "share_0", "share_1",
    )  # fmt: skip
    assert heads(network(fixed_cost=9.0), "base_stock") == ("level", "gate")
    assert heads(network(2), "can_order") == ("level", "gate", "can_gate")
    assert heads(network(), "base_stock", extra_heads=("smoothing",)) == ("level", "smoothing")


def test_dual_heads_move_what_they_say() -> None:
    """q_e = [S_e - IP_e]+, q_r = min(cap, rho [S - IP - q_e]+), each number moved by its head."""
    net = network(1, AIR)
    assert orders(net, WANTS, {}) == {"sea_0": 15.0, "air": 10.0}
    loose = {**WANTS, "cap": 1e9}
    assert orders(net, loose, {}) == {"sea_0": 20.0, "air": 10.0}
    assert orders(net, loose, {"level": 0.5}) == {"sea_0": 25.0, "air": 10.0}
    assert orders(net, WANTS, {"cap": 1.0})["sea_0"] == 20.0
    assert orders(net, WANTS, {"cap": -1.0})["sea_0"] == pytest.approx(15.0 * np.exp(-1.5))
    slow = orders(net, loose, {"smoothing": -1.0})
    assert slow == {"sea_0": pytest.approx(0.2 * 20.0), "air": 10.0}
    assert orders(net, loose, {"smoothing": 1.0})["sea_0"] == pytest.approx(1.2 * 20.0)
    more = orders(net, loose, {"expedite": 1.0})
    moved = 2.0 * 5.0 * np.sqrt(1.0 / 4.0)  # spread over the expedite lead time and review
    assert more["air"] == pytest.approx(10.0 + moved)
    assert more["sea_0"] == pytest.approx(20.0 - moved)
    assert orders(net, {**WANTS, "expedite": -8.0}, {})["air"] == 0.0


def test_gates_open_and_close() -> None:
    """Below the reorder point nothing is ordered; the head moves the point by one spread."""
    net = network(fixed_cost=9.0)
    loose = {**WANTS, "cap": 1e9, "can_gate": -99.0}
    assert orders(net, {**loose, "gate": 0.0}, {})["sea_0"] == 30.0
    assert orders(net, {**loose, "gate": -0.1}, {})["sea_0"] == 0.0
    assert orders(net, {**loose, "gate": -4.0}, {"gate": 1.0})["sea_0"] == 30.0
    assert orders(net, {**loose, "gate": 4.0}, {"gate": -1.0})["sea_0"] == 0.0


class OneMust(Everything):
    """Only the first pair has reached its reorder point."""

    def target(self, view: View) -> Target:
        target = super().target(view)
        assert target.gate is not None
        target.gate[1:] = -7.0
        return target


def test_who_can_joins_who_must() -> None:
    """With a joint supplier a pair at its can-order point is ordered along, and no other."""
    net = network(2)
    for can, wanted in ((0.0, 15.0), (-1.0, 0.0)):
        scenario = Scenario("joint", net, horizon=10)
        policy = OneMust(scenario.compiled, {**WANTS, "can_gate": can})
        env = BatchedEnv(scenario, 1, base_policy=policy)
        env.reset(0)
        env.close_period(env.no_action)
        assert env.flows.raw_order[:, 0].tolist() == [15.0, wanted]
        env.reset(0)
        action = env.no_action.copy()
        action[1, env.groups[0].heads.index("can_gate")] = 0.3
        env.close_period(action)
        assert env.flows.raw_order[1, 0] == 15.0


def test_an_unused_lane_can_be_chosen() -> None:
    """A lane of base share 0 gets nothing from the zero action, most from a strong one."""
    net = network(1, ROAD)
    loose = {**WANTS, "cap": 1e9}
    assert orders(net, loose, {}) == {"sea_0": 30.0, "road": 0.0}
    half = orders(net, loose, {"share_1": 1.0})
    assert half["road"] == pytest.approx(30.0 * 0.02 * np.exp(3) / (1.0 + 0.02 * np.exp(3)))
    most = orders(net, loose, {"share_0": -1.0, "share_1": 1.0})
    assert most["road"] > 0.85 * 30.0
    assert sum(most.values()) == pytest.approx(30.0)


def depot(learned: bool) -> SupplyNetwork:
    """A depot with 12 units and two shops that miss 30 each."""
    demand = Demand.from_config(DemandConfig("poisson", mean=4.0), 0)
    return SupplyNetwork(
        (Node("depot", "warehouse"), Node("a", "store"), Node("b", "store")),
        (Sku("tea"),),
        (
            Stock("depot", "tea", initial_stock=12.0, learned_allocation=learned),
            Stock("a", "tea", demand=demand),
            Stock("b", "tea", demand=demand),
        ),
        (
            Lane("buy", "depot", "tea", LeadTime(2)),
            Lane("to a", "a", "tea", LeadTime(1), (LaneInput("depot", "tea"),)),
            Lane("to b", "b", "tea", LeadTime(1), (LaneInput("depot", "tea"),)),
        ),
    )


def test_weights_share_out_what_is_scarce() -> None:
    """The depot's agent leans to one shop; with equal weights the rule stands."""
    assert [g.heads for g in _env(depot(False)).groups] == [("level",), ("level",)]
    env = _env(depot(True))
    assert env.groups[0].heads == ("level", "weight_0", "weight_1")
    for lean, wanted in ((0.0, [6.0, 6.0]), (0.5, None)):
        env.reset(0)
        action = env.no_action.copy()
        action[0, 1] = lean
        env.close_period(action)
        shipped = env.flows.shipped[1:, 0]
        assert shipped.sum() == pytest.approx(12.0)
        if wanted:
            assert shipped == pytest.approx(wanted)
        else:
            assert shipped[0] / shipped[1] == pytest.approx(np.exp(1.5))


def _env(net: SupplyNetwork) -> BatchedEnv:
    scenario = Scenario("depot", net, horizon=10, base_policy="base_stock")
    policy = build_policy("base_stock", scenario.compiled, {"level": 30.0})
    env = BatchedEnv(scenario, 1, base_policy=policy)
    env.reset(0)
    return env


@pytest.mark.parametrize(
    ("space", "action", "wanted"),
    [
        (ActionSpace.direct, -1.0, 0.0),
        (ActionSpace.direct, 0.0, 4.0),
        (ActionSpace.direct, 1.0, 8.0),
        (ActionSpace.days_of_cover, -1.0, 0.0),
        (ActionSpace.days_of_cover, 0.0, 1.5 * 16.0 - 20.0),
        (ActionSpace.days_of_cover, 1.0, 3.0 * 16.0 - 20.0),
    ],
)
def test_other_action_spaces(space: ActionSpace, action: float, wanted: float) -> None:
    """A quantity, or a level in days of demand: 4 units a day, lead time and review 4 days."""
    scenario = Scenario("other", network(), horizon=10, base_policy="base_stock", warm_up=0)
    env = BatchedEnv(replace(scenario, action_space=space), 1)
    env.reset(0)
    env.close_period(np.full_like(env.no_action, action))
    assert env.flows.raw_order[0, 0] == pytest.approx(wanted)


def test_warm_up_is_the_base_policys_in_every_space() -> None:
    """The state that learning starts from is the same."""
    stocks = []
    for space in ActionSpace:
        scenario = Scenario(
            "warm", network(), horizon=10, warm_up=30, base_policy="base_stock", action_space=space
        )
        env = BatchedEnv(scenario, 3)
        env.reset(0)
        stocks.append(env.state.on_hand.copy())
    assert np.array_equal(stocks[0], stocks[1])
    assert np.array_equal(stocks[0], stocks[2])


def test_actions_mean_something_where_demand_is_certain() -> None:
    """The beer game's demand has no spread: half of action 1 still adds a quarter of what comes."""
    composed = compose(EvaluateCommand, ["scenario=beer_game"])
    env = BatchedEnv(build_scenario(composed.command.scenario), 1)
    env.reset(0)
    for _ in range(6):
        env.step(env.no_action)
    periods = env.net.leads.pair + env.net.review
    assert env.spread[:, 0] == pytest.approx(0.25 * env.net.demand.mean * periods)
    wanted = np.maximum(env.target[:, 0], 0.0) + 2.0 * env.spread[:, 0]
    env.close_period(np.ones((env.num_rows, env.action_size, 1), np.float32))
    assert env.flows.raw_order[:, 0] == pytest.approx(wanted)


def test_action_scale_is_how_far_actions_reach() -> None:
    """Twice the scale is twice the action; no action is the base policy all the same."""
    orders = {}
    for scale, action in ((1.0, 0.0), (2.5, 0.0), (1.0, 0.5), (2.0, 0.25)):
        scenario = Scenario("far", network(), horizon=10, base_policy="base_stock")
        policy = build_policy("base_stock", scenario.compiled, {"level": 30.0})
        env = BatchedEnv(replace(scenario, action_scale=scale), 1, base_policy=policy)
        env.reset(0)
        env.close_period(np.full_like(env.no_action, action))
        orders[scale, action] = env.flows.raw_order[0, 0]
    assert orders[1.0, 0.0] == orders[2.5, 0.0]
    assert orders[1.0, 0.5] == pytest.approx(orders[2.0, 0.25])
    assert orders[1.0, 0.5] > orders[1.0, 0.0]
    with pytest.raises(ConfigError, match="action_scale is 0"):
        replace(scenario, action_scale=0.0)
