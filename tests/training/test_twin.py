"""The twin is held to the simulator: the same numbers, and slopes that finite differences find."""

from __future__ import annotations

import copy
import dataclasses
from random import Random

import numpy as np
import pytest
import torch

from conf.compose import compose
from envs.compiled.arrays import CostColumn
from envs.compiled.network import compile_network
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.network.demand import DemandConfig
from envs.observation.features import FEATURES, Scale
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.simulation.actions import compile_heads
from envs.simulation.simulator import Simulator
from evaluation.artifact.actor import Actor
from evaluation.artifact.models import build_model
from evaluation.commands.evaluate import EvaluateCommand
from tests.envs.networks import one_warehouse, random_network
from tests.settings import cost_alone
from training.twin.base_policy import BasePolicySlopes
from training.twin.heads import RawOrders, clip_action
from training.twin.observation import UNITS, ObservationSlopes
from training.twin.physics import Twin
from training.twin.state import Draws, TwinState, anchor
from training.twin.tables import Tables, proportion
from training.twin.trajectory import Trajectories, horizon_of

EXACT = torch.float64
SCENARIOS = (
    "assembly", "assembly_plant", "beer_game", "disruption", "dual_sourcing", "hidden_regime",
    "joint_replenishment", "lost_sales", "omni_fulfilment", "one_warehouse_n_stores", "serial",
    "two_echelon_dc", "weather_routing",
)  # fmt: skip


# Their base policies order whole trucks, or what the nearest has, or twice.
APPROXIMATE = ("joint_replenishment", "weather_routing", "omni_fulfilment", "disruption")


def apart(twin: torch.Tensor, simulator: np.ndarray) -> float:
    """Largest difference, relative where numbers are large."""
    if not simulator.size:
        return 0.0
    own = twin.detach().numpy()
    return float(np.max(np.abs(own - simulator) / (1.0 + np.abs(simulator))))


def follow(seed: int, periods: int = 20, batch: int = 3, *, divisible: bool = True) -> None:
    """Step both on a random network under the same orders; divisible: without whole units."""
    net = compile_network(random_network(Random(seed), divisible=divisible))
    simulator, rng = Simulator(net, batch), np.random.default_rng(seed)
    twin = Twin(Tables(net, EXACT, "cpu"), compile_heads(net)[0])
    simulator.reset(seed)
    state = TwinState.of(simulator.state, 0, EXACT, "cpu")
    twin.begin(simulator.flows)
    orders = (len(net.network.lanes), batch)
    for _ in range(periods):
        draws = Draws.of(simulator.trace, EXACT, "cpu")
        raw = rng.exponential(5.0, orders) * (rng.random(orders) < 0.8)
        simulator.close_period_with_orders(raw)
        # Rules on orders (calendars, budgets, minimum orders) have no slope: what was ordered.
        ordered = torch.tensor(simulator.flows.ordered)
        state, flows = twin.close_period(state, ordered, draws)
        assert apart(flows.shipped, simulator.flows.shipped) < 1e-9
        steps = simulator.flows.cost[[CostColumn.FIXED_ORDER, CostColumn.LOAD]].sum(axis=0)
        if not net.arrays.resources.load_cost.any():
            assert apart(flows.cost, simulator.flows.total_cost - steps) < 1e-9
        simulator.open_period()
        state = twin.open_period(state, Draws.of(simulator.trace, EXACT, "cpu"))
        wanted = TwinState.of(simulator.state, simulator.period, EXACT, "cpu")
        for name, own, there in zip(TwinState._fields, state, wanted, strict=True):
            assert apart(own, there.numpy()) < 1e-9, name
        positions = twin.positions(state)
        for name in positions._fields:
            there = getattr(simulator.state, name)
            assert apart(getattr(positions, name), there) < 1e-9, name


@pytest.mark.parametrize("seed", range(40))
def test_twin_goes_where_the_simulator_goes(seed: int) -> None:
    follow(seed)


@pytest.mark.parametrize("seed", range(40, 60))
def test_twin_keeps_units_whole_as_the_simulator_does(seed: int) -> None:
    follow(seed, divisible=False)


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(10))
def test_twin_goes_where_the_simulator_goes_on_1000_networks(block: int) -> None:
    for seed in range(40 + 100 * block, 140 + 100 * block):
        follow(seed, divisible=seed % 2 == 0)


def scenario_of(name: str) -> Scenario:
    """A scenario at its smoke size."""
    composed = compose(EvaluateCommand, [f"scenario={name}", "smoke=true"])
    return build_scenario(composed.command.scenario)


@pytest.mark.parametrize("name", SCENARIOS)
def test_heads_ask_for_what_the_simulator_orders(name: str) -> None:
    """Any action, any base policy: the same raw orders on every lane."""
    scenario = scenario_of(name)
    env, rng = BatchedEnv(scenario, 4), np.random.default_rng(0)
    heads, _ = compile_heads(env.net, env.base_policy.decides, scenario.extra_heads)
    raw_orders = RawOrders(Tables(env.net, EXACT, "cpu"), heads)
    env.reset(1)
    asked = 0.0
    for _ in range(min(env.horizon, 25)):
        action = rng.uniform(-1.0, 1.0, (env.num_rows, env.action_size, 4)).astype(np.float32)
        target, spread = torch.tensor(env.target), torch.tensor(env.spread)
        decision = env.simulator.decision
        quick = torch.tensor(decision.expedite) if decision.expedite.size else None
        env.close_period(action)
        raw = raw_orders.of(
            torch.tensor(action, dtype=EXACT), target, quick, spread, decision, env.flows
        )
        assert apart(raw, env.flows.raw_order) < 1e-6
        asked += float(raw.sum())
        env.open_period()
    assert asked > 0.0


@pytest.mark.parametrize("name", SCENARIOS)
def test_base_policy_moves_as_its_slopes_say(name: str) -> None:
    """A unit more on one shelf moves the orders by what the slopes say.

    All policies and all that can be raised: tests/training/test_slope_check.py.
    """
    base = "echelon_base_stock" if name in APPROXIMATE else None
    scenario = scenario_of(name)
    scenario = dataclasses.replace(scenario, base_policy=base or scenario.base_policy)
    env = BatchedEnv(scenario, 2)
    env.reset(1)
    for _ in range(8):  # past the weeks in which the beer game's orders are given
        env.step(env.no_action)
    policy = env.base_policy

    def target() -> np.ndarray:
        env.base_policy = copy.deepcopy(policy)  # some remember what they saw
        env.refresh()
        return env.target.copy()

    slopes = BasePolicySlopes(policy, env.action_space)
    twin = Twin(Tables(env.net, EXACT, "cpu"), compile_heads(env.net)[0])
    state = TwinState.of(env.state, env.simulator.period, EXACT, "cpu")
    state = TwinState(*(part.requires_grad_() for part in state))
    order = slopes.of(twin.positions(state), env.view)["order"]
    before = target()
    for p in range(min(env.num_rows, 6)):
        (moved,) = torch.autograd.grad(
            order, state.on_hand, torch.ones_like(order), retain_graph=True
        )
        env.state.on_hand[p] += 1.0
        change = (target() - before).sum(axis=0)
        env.state.on_hand[p] -= 1.0
        assert change == pytest.approx(moved[p].numpy(), abs=1e-6)


def continuous(stores: int) -> Scenario:
    """Demand and orders without whole units: costs have slopes almost everywhere."""
    return build_scenario(
        one_warehouse(
            name="continuous",
            stores=stores,
            lost_sale_cost=9.0,
            order_multiple=0.0,
            demand=DemandConfig(distribution="uniform", low=0.0, high=10.0),
            horizon=60,
            warm_up=10,
        )
    )


@pytest.mark.parametrize(("network", "companions"), [("mlp", 0), ("graph_attention", 4)])
def test_slope_of_the_cost_is_what_the_simulator_shows(network: str, companions: int) -> None:
    """Networks in, cost out: the whole chain against central differences of the simulator."""
    scenario = dataclasses.replace(continuous(3), companions=companions)
    env = BatchedEnv(scenario, 32, reward=cost_alone(salvage_share=0.0))
    torch.manual_seed(0)
    actors = {
        group.name: build_model(network, env.feature_names, group.action_size, (64, 64), 0)
        for group in env.groups
    }
    # What orders did to the demand on a warehouse has no slope: the networks don't look at it.
    flat = [
        place
        for place, name in enumerate(env.feature_names)
        if name.startswith(("demand_", "zero_")) or name == "downstream_shortage_max"
    ]
    looking = ("layers.0.weight", "query.weight", "embed.weight")
    with torch.no_grad():
        for actor in actors.values():
            actor.layers[-1].get_parameter("weight").normal_(std=0.1)
            for name, parameter in actor.named_parameters():
                if name in looking:
                    kept = [f for f in flat if f < parameter.shape[1]]
                    parameter[:, kept] = 0.0

    def played() -> torch.Tensor:
        return Trajectories(env, 3, 0).play(actors, 40, 0).cost.mean()

    cost = played()
    cost.backward()
    named = [named for actor in actors.values() for named in actor.named_parameters()]
    parameters = [parameter for _, parameter in named]
    slopes = [p.grad.clone() for p in parameters if p.grad is not None]
    own = slopes[[name for name, _ in named].index("embed.weight")] if companions else None
    assert own is None or bool(own.any())
    rng = torch.Generator().manual_seed(1)
    for _ in range(3):
        ways = [torch.randn(p.shape, generator=rng) for p in parameters]
        for (name, parameter), way in zip(named, ways, strict=True):
            if name in looking:
                way[:, [f for f in flat if f < parameter.shape[1]]] = 0.0
        wanted = sum(float((s * w).sum()) for s, w in zip(slopes, ways, strict=True))
        ends = []
        for step in (3e-4, -3e-4):
            with torch.no_grad():
                for parameter, way in zip(parameters, ways, strict=True):
                    parameter.add_(way, alpha=step)
                ends.append(played().item())
                for parameter, way in zip(parameters, ways, strict=True):
                    parameter.sub_(way, alpha=step)
        found = (ends[0] - ends[1]) / 6e-4
        assert found == pytest.approx(wanted, rel=0.03, abs=2e-3 * cost.item())


def test_values_are_the_simulators() -> None:
    """Whole packs and all: a trajectory costs what the simulator says."""
    env = BatchedEnv(scenario_of("one_warehouse_n_stores"), 8, reward=cost_alone(salvage_share=0))
    actors = {group.name: Actor(env.observation_size, group.action_size) for group in env.groups}
    played = Trajectories(env, 5, 0).play(actors, 20, 4)
    env.reset(5, 0)
    cost = np.zeros(8)
    for _ in range(20):
        env.step(env.no_action)
        cost += env.flows.total_cost.sum(axis=0)
    assert played.cost.detach().numpy() == pytest.approx(cost / 20, rel=1e-5)
    assert played.node_cost.sum() == pytest.approx(cost.mean() / 20)


def test_tail_teaches_nothing() -> None:
    """Orders of the tail change the cost, and don't move the networks."""
    env = BatchedEnv(continuous(2), 4, reward=cost_alone(salvage_share=0.0))
    actors = {group.name: Actor(env.observation_size, group.action_size) for group in env.groups}
    assert Trajectories(env, 1, 0).play(actors, 20, 10).cost.requires_grad
    assert not Trajectories(env, 1, 0).play(actors, 20, 20).cost.requires_grad


def test_clipped_actions_find_their_way_back() -> None:
    action = torch.tensor([-2.0, -2.0, 0.5, 2.0, 2.0], requires_grad=True)
    slopes = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])
    clip_action(action).backward(slopes)
    assert clip_action(action).tolist() == [-1.0, -1.0, 0.5, 1.0, 1.0]
    # Descent moves against the slope: at 2 only a positive one leads back inside.
    assert action.grad is not None
    assert action.grad.tolist() == [0.0, -1.0, 1.0, 1.0, 0.0]


def test_trajectories_are_longer_than_the_way_to_the_customer() -> None:
    scenario = scenario_of("two_echelon_dc")
    env = BatchedEnv(dataclasses.replace(scenario, horizon=365), 1)
    periods, tail = horizon_of(env, None, None)
    assert periods > 2 * env.net.leads.path.max()
    assert tail > env.net.leads.path.max()
    assert horizon_of(env, 40, 30) == (40, 20)


class CostOfOrders:
    """What orders on a random network cost in all, by the twin alone, on the same draws."""

    def __init__(self, seed: int, periods: int) -> None:
        self.net = compile_network(random_network(Random(seed), divisible=True))
        simulator = Simulator(self.net, 1)
        simulator.reset(seed)
        self._twin = Twin(Tables(self.net, EXACT, "cpu"), compile_heads(self.net)[0])
        self._start, self._flows = copy.deepcopy((simulator.state, simulator.flows))
        self._draws = [Draws.of(simulator.trace, EXACT, "cpu")]
        for _ in range(periods):  # nothing that is drawn depends on orders
            simulator.close_period_with_orders(np.zeros((len(self.net.network.lanes), 1)))
            simulator.open_period()
            self._draws.append(Draws.of(simulator.trace, EXACT, "cpu"))

    def __call__(self, orders: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """[B] of orders [T, Q, B] units and weights [P, heads, B]."""

        def each(values: torch.Tensor) -> torch.Tensor:
            return values.expand(*values.shape[:-1], orders.shape[2])

        state = TwinState(*map(each, TwinState.of(self._start, 0, EXACT, "cpu")))
        draws = [
            Draws(each(d.demand), each(d.lead_time), each(d.factor), d.rounding)
            for d in self._draws
        ]
        self._twin.begin(self._flows)
        total = torch.zeros((), dtype=EXACT)
        for raw, today, tomorrow in zip(orders, draws, draws[1:], strict=False):
            state, flows = self._twin.close_period(state, raw, today, weights)
            total = total + flows.cost.sum(0) + 0.1 * state.in_transit.sum((0, 1))
            state = self._twin.open_period(state, tomorrow)
        return total


@pytest.mark.parametrize(
    "seeds", [range(10), pytest.param(range(10, 50), marks=pytest.mark.nightly)]
)
def test_slopes_on_random_networks_are_finite_differences(seeds: range) -> None:
    """Scarce stock shared by any rule, resources, pauses, full nodes: costs move as slopes say.

    Entries that sit on a kink (a demand met to the unit) may differ.
    """
    right, compared, shared, step = 0, 0, 0, 1e-5
    for seed in seeds:
        cost_of, rng = CostOfOrders(seed, 8), Random(seed)
        net = cost_of.net
        shape = (8, len(net.network.lanes), 1)
        numbers = np.random.default_rng(seed)
        orders = torch.tensor(numbers.exponential(5.0, shape), requires_grad=True)
        heads = sum(k.action_size for k in compile_heads(net)[1])
        draws = numbers.uniform(-0.5, 0.5, (len(net.network.stocks), heads, 1))
        weights = torch.tensor(draws, requires_grad=True)
        cost_of(orders, weights).sum().backward()
        for leaf in (orders, weights):
            if leaf.grad is None:
                continue
            steep = np.argsort(-leaf.grad.abs().numpy(), axis=None)[:3]  # as it says itself
            places = [np.unravel_index(i, leaf.shape) for i in steep]
            places += [tuple(rng.randrange(n) for n in leaf.shape) for _ in range(4)]
            moved = leaf.detach().repeat(1, 1, 2 * len(places))
            for number, place in enumerate(places):
                moved[*place[:2], 2 * number] += step
                moved[*place[:2], 2 * number + 1] -= step
            other = (weights if leaf is orders else orders).detach().expand(-1, -1, moved.shape[2])
            ends = cost_of(moved, other) if leaf is orders else cost_of(other, moved)
            for place, up, down in zip(
                places, ends[::2].tolist(), ends[1::2].tolist(), strict=True
            ):
                found, slope = (up - down) / (2 * step), leaf.grad[place].item()
                right += abs(found - slope) <= 1e-3 * (1.0 + abs(found))
                compared += 1
                shared += leaf is weights and abs(found) > 1e-6
    assert compared > 5 * len(seeds)
    assert right >= 0.97 * compared
    assert shared > 0


def test_learned_weights_share_as_the_simulator_does() -> None:
    """Random weights on a warehouse that is short: each store gets what the simulator gives it."""
    scenario = dataclasses.replace(
        build_scenario(
            one_warehouse(
                name="short", stores=4, lost_sale_cost=9.0,
                learned_allocation=True, order_multiple=0.0, horizon=40,
                demand=DemandConfig(distribution="uniform", low=0.0, high=10.0),
            )
        ),
        policy_params={"forecast_base_stock": {"safety_factor": -1.0}},
    )  # fmt: skip
    env, rng = BatchedEnv(scenario, 4), np.random.default_rng(0)
    heads, _ = compile_heads(env.net, env.base_policy.decides, scenario.extra_heads)
    twin = Twin(Tables(env.net, EXACT, "cpu"), heads)
    env.reset(1)
    short = 0
    for _ in range(30):
        state = TwinState.of(env.state, env.simulator.period, EXACT, "cpu")
        action = rng.uniform(-1.0, 1.0, (env.num_rows, env.action_size, 4)).astype(np.float32)
        draws = Draws.of(env.simulator.trace, EXACT, "cpu")
        env.close_period(action)
        ordered = torch.tensor(env.flows.ordered)
        _, flows = twin.close_period(state, ordered, draws, torch.tensor(action, dtype=EXACT))
        assert apart(flows.shipped, env.flows.shipped) < 1e-6
        short += int((env.state.owed > 0.1).any())
        env.open_period()
    assert short > 5


def test_crumbs_have_no_slope() -> None:
    """What is scarce in the last digits has a share like all else, but no slope: theirs, 1e15 and
    more, multiply over periods until they are infinite."""
    available = torch.tensor([3.0, 1e-15, 5e-40, 7.0], requires_grad=True)
    need = torch.tensor([4.0, 2e-15, 1e-39, 5.0], requires_grad=True)
    share = proportion(available, need)
    assert share.tolist() == pytest.approx([0.75, 0.5, 0.5, 1.0], rel=1e-3)
    share.sum().backward()
    assert available.grad is not None
    assert need.grad is not None
    assert available.grad.tolist() == [0.25, 0.0, 0.0, 0.0]
    assert need.grad.tolist() == [-0.1875, 0.0, 0.0, 0.0]


def slopes_of(env: BatchedEnv) -> ObservationSlopes:
    """Of what the environment's agents see."""
    path_horizon = env.simulator.forecast.path_horizon
    tables = Tables(env.net, EXACT, "cpu")
    return ObservationSlopes(tables, env.layout, env.inverse_scale, path_horizon, env.companions)


def test_the_table_and_the_twin_agree_which_features_have_slopes() -> None:
    """Neither has one that the other lacks; those without a scale have none."""
    claimed = {name for name, feature in FEATURES.items() if feature.slope}
    assert claimed == set(UNITS)
    assert all(FEATURES[name].scale is not Scale.none for name in claimed)


def test_a_slope_that_the_twin_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds a feature with a slope and forgets the twin learns where it is missing."""
    entry = dataclasses.replace(FEATURES["demand_last"], slope=True)
    monkeypatch.setitem(FEATURES, "demand_last", entry)
    with pytest.raises(ConfigError, match=r"'demand_last' claims a slope .* add one, or set"):
        slopes_of(BatchedEnv(continuous(2), 1))


MOVED = ("on_hand", "backorders", "owed", "in_transit", "orders_on_way")


def seen_at(env: BatchedEnv, ways: dict[str, np.ndarray], step: float) -> np.ndarray:
    """What agents see where the state is moved so far along the ways; it is moved back."""
    before = {name: getattr(env.state, name).copy() for name in ways}
    for name, way in ways.items():
        getattr(env.state, name)[...] += step * way
    env.state.in_transit_total[...] = env.state.in_transit.sum(axis=1)
    env.state.orders_on_way_total[...] = env.state.orders_on_way.sum(axis=1)
    seen = env.refresh().astype(float)
    for name, values in before.items():
        getattr(env.state, name)[...] = values
    return seen


def slope_along(env: BatchedEnv, ways: dict[str, np.ndarray]) -> np.ndarray:
    """[P, F, B] what the twin says of the observation along the ways."""
    observation = torch.tensor(seen_at(env, ways, 0.0))
    policy = BasePolicySlopes(env.base_policy, env.action_space)
    twin = Twin(Tables(env.net, EXACT, "cpu"), compile_heads(env.net)[0])
    slopes, period = slopes_of(env), env.simulator.period
    there = TwinState.of(env.state, period, EXACT, "cpu")
    along = TwinState.of(env.state._replace(**ways), period, EXACT, "cpu")

    def seen(step: torch.Tensor) -> torch.Tensor:
        now = TwinState(*(a + step * b for a, b in zip(there, along, strict=True)))
        positions = twin.positions(now)
        order = anchor(env.target, policy.of(positions, env.view)["order"])
        return slopes.of(observation, now, positions, order, env.state)

    zero = torch.zeros((), dtype=EXACT)
    slope: np.ndarray = torch.func.jvp(seen, (zero,), (torch.ones_like(zero),))[1].numpy()
    return slope


def test_features_move_as_their_slopes_say() -> None:
    """Of every feature with a slope, in random directions of the state, by finite differences."""
    met = set()
    for seed in (0, 4, 10, 20, 21):
        scenario = Scenario("random", random_network(Random(seed)), 30, base_policy="base_stock")
        env, rng = BatchedEnv(scenario, 3), np.random.default_rng(seed)
        env.reset(seed)
        ways = {}
        for name in MOVED:
            part = getattr(env.state, name)
            part += rng.uniform(0.5, 1.5, part.shape)  # away from kinks
            ways[name] = rng.uniform(-1.0, 1.0, part.shape)
        at_once = env.net.arrays.lanes.information_delay == 0
        env.state.orders_on_way[at_once] = ways["orders_on_way"][at_once] = 0.0
        wanted = slope_along(env, ways)
        found = (seen_at(env, ways, 0.02) - seen_at(env, ways, -0.02)) / 0.04
        for name in UNITS:
            column = getattr(env.layout.at, name)
            if column >= 0:
                assert wanted[:, column] == pytest.approx(found[:, column], abs=1e-3), name
                met |= {name} if np.abs(wanted[:, column]).max() > 0.01 else set()
    assert met == set(UNITS)
