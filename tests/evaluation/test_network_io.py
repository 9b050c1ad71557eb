"""A scenario as plain JSON and back: nothing lost that serving needs, nothing wrong accepted."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.errors import ArtifactError, ConfigError, EchelonError
from envs.network.demand import PROCESSES, Demand, DemandConfig, build_process
from envs.network.lane import Lane, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import MarkovChain, Regime, RegimeState
from envs.observation.companions import CompanionsOf
from envs.reward import Preference
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.network_io import network_hash, scenario_from_plain, scenario_to_plain
from training.commands.train import TrainCommand

REPLAYED = ("beer_game", "retail")  # demand is a history, which is not written
DRAWN = sorted(p.stem for p in Path("conf/scenario").glob("*.yaml") if p.stem not in REPLAYED)


def build(*arguments: str) -> Scenario:
    return build_scenario(compose(TrainCommand, list(arguments)).command.scenario)


def there_and_back(scenario: Scenario) -> Scenario:
    return scenario_from_plain(json.loads(json.dumps(scenario_to_plain(scenario))))


@pytest.fixture(scope="module")
def retail() -> Scenario:
    return build("scenario=retail", "scenario.stores=3", "scenario.items=4")


def everything() -> Scenario:
    """A network that uses every field: regimes, resources, a calendar, limits, delays."""
    config = DemandConfig("normal", mean=9.0, standard_deviation=3.0)
    demand = Demand(
        9.0, 3.0, build_process(config), multiplier=np.array([0.5, 1.25, 1.25]), correlation=0.3
    )
    states = (RegimeState("good"), RegimeState("bad", availability=0.5, lead_time=2.0))
    network = SupplyNetwork(
        (Node("shop", "store"),),
        (Sku("tea", 2.5),),
        (Stock("shop", "tea", holding_cost=1, backlog_cost=9, serve_limit=40.0, demand=demand),),
        (
            Lane(
                "farm > shop",
                "shop",
                "tea",
                LeadTime(1, 2.0, 1.5, 9),
                resources=(ResourceUse("truck", 0.5),),
                regimes=("harvest",),
                fixed_cost=3.0,
                minimum_order=2.0,
                maximum_order=60.0,
                order_multiple=2.0,
                information_delay=1,
                initial_in_transit=(4.0,),
                initial_orders=(2.0,),
            ),
        ),
        (Resource("truck", 30.0),),
        (Regime("harvest", states, MarkovChain(((0.9, 0.1), (0.5, 0.5)))),),
    )
    return Scenario(
        "everything",
        network,
        horizon=12,
        warm_up=2,
        policy_params={"forecast_base_stock": {"safety_factor": {"store": 1.5}}},
        smoothing=0.1,
        period_name="week",
        start_date="2026-01-05",
    )


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.nightly] * (n == "scale_1000")) for n in DRAWN],
)
def test_what_comes_back_plays_the_same(name: str) -> None:
    """Same hash, same observations, same costs on the same traces: for every kind of scenario."""
    scenario = build(f"scenario={name}")
    assert_same_play(scenario, there_and_back(scenario))


def test_no_field_is_lost() -> None:
    """The network with everything in it: every field that is not at its default survives."""
    scenario = everything()
    back = there_and_back(scenario)
    assert_same_play(scenario, back)
    assert back.network.lanes == scenario.network.lanes
    assert back.network.resources == scenario.network.resources
    assert back.network.regimes == scenario.network.regimes
    assert back.network.timing == scenario.network.timing
    assert (back.period_name, back.start_date) == ("week", "2026-01-05")


def test_replayed_demand_comes_back_without_its_history(retail: Scenario) -> None:
    """The calendar and what is known ahead stay; the sales of real stores don't."""
    back = there_and_back(retail)
    assert network_hash(back) == network_hash(retail)
    assert back.start_date == "2017-01-01"
    assert back.compiled.demand.calendar_length == retail.compiled.demand.calendar_length
    np.testing.assert_array_equal(
        back.compiled.demand.multiplier, retail.compiled.demand.multiplier
    )
    np.testing.assert_array_equal(back.compiled.demand.mean, retail.compiled.demand.mean)
    beer_game = build("scenario=beer_game")
    assert network_hash(there_and_back(beer_game)) == network_hash(beer_game)
    histories = [s.demand.history for s in back.network.stocks if s.demand is not None]
    assert len(histories) == 12
    assert all(history is not None and not history.any() for history in histories)


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_every_demand_process_can_be_exported(shop: Scenario, name: str) -> None:
    """A process added to the registry has to be added here too."""
    config = DemandConfig(name, 5.0, 4.0, 1.0, 7.0, order_size=2.0)
    demand = Demand(5.0, 4.0, build_process(config))
    [stock] = shop.network.stocks
    fields = {**stock.__dict__, "demand": demand}
    network = SupplyNetwork(
        shop.network.nodes, shop.network.skus, (Stock(**fields),), shop.network.lanes
    )
    back = there_and_back(Scenario("shop", network, 5))
    assert back.network.stocks[0].demand is not None
    assert back.network.stocks[0].demand.process == demand.process


def test_a_preference_comes_back(shop: Scenario) -> None:
    """Agents see it, so serving has to know of it."""
    preference = Preference(1.0, 50.0, at=0.3)
    assert there_and_back(dataclasses.replace(shop, preference=preference)).preference == preference
    assert there_and_back(shop).preference is None


def test_the_hash_sees_every_number(shop: Scenario) -> None:
    """Another price, another hash."""
    plain = scenario_to_plain(shop)
    plain["network"]["stocks"][0]["price"] = 0.01
    assert network_hash(scenario_from_plain(plain)) != network_hash(shop)


def at(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one value deep inside."""

    def change(plain: Any) -> None:
        *parents, last = path.split(".")
        for key in parents:
            plain = plain[int(key) if key.isdigit() else key]
        if value is KeyError:
            del plain[last]
        else:
            plain[last] = value

    return change


STOCK, LANE = "network.stocks.0", "network.lanes.0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (at("format_version", 1), "format_version is 1"),
        (at("horizon", KeyError), "'horizon' is missing"),
        (at("pickle", "x"), "'pickle' is unknown"),
        (at("horizon", 3.0), "horizon is 3.0; expected a whole number"),
        (at("horizon", True), "horizon is True"),
        (at("name", 3), "name is 3; expected text"),
        (at("base_policy", "magic"), "'magic' is unknown"),
        (at("policy_params", []), "policy_params is []"),
        (at("network", None), "network is None; expected an object"),
        (at("network.lanes", {}), "network.lanes is {}; expected a list"),
        (at(f"{STOCK}.holding_cost", "1"), "network.stocks[0].holding_cost is '1'"),
        (at(f"{STOCK}.holding_cost", float("nan")), "holding_cost is nan"),
        (at(f"{STOCK}.holding_cost", None), "holding_cost is None"),
        (at(f"{STOCK}.holding_cost", -1), "holding_cost is -1"),
        (at(f"{STOCK}.color", "red"), "'color' is unknown in network.stocks[0]"),
        (at(f"{STOCK}.demand.process.name", "magic"), "process.name is 'magic'"),
        (at(f"{STOCK}.demand.process.mean", KeyError), "'mean' is missing"),
        (at(f"{STOCK}.demand.process", None), "either a process or a history"),
        (at(f"{STOCK}.demand.history_length", 10**9), "history_length is 1000000000"),
        (at(f"{STOCK}.demand.multiplier", [1.0, "2"]), "multiplier[1] is '2'"),
        (at(f"{STOCK}.demand.multiplier", [float("inf")]), "multiplier[0] is inf"),
        (at(f"{LANE}.lead_time.minimum", 1.5), "lead_time.minimum is 1.5"),
        (at(f"{LANE}.node", "mars"), "node 'mars' is not defined"),
        (at("network.timing.receive", "never"), "receive is 'never'"),
    ],
)
def test_a_wrong_shape_is_named(
    shop: Scenario, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    """One readable error with the path, whatever is wrong."""
    plain = copy.deepcopy(scenario_to_plain(shop))
    change(plain)
    with pytest.raises(EchelonError) as caught:
        scenario_from_plain(plain)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("plain", [None, [], "text", 3, {}])
def test_something_else_altogether_is_refused(plain: Any) -> None:
    with pytest.raises(ArtifactError, match=r"network\.json"):
        scenario_from_plain(plain)


def test_what_is_not_plain_cannot_be_exported(shop: Scenario) -> None:
    """A value that JSON can't hold is refused when the scenario is built, before any training."""
    with pytest.raises(ConfigError, match=r"policy_params\.base_stock\.level is nan"):
        Scenario("odd", shop.network, 5, policy_params={"base_stock": {"level": float("nan")}})


def assert_same_play(scenario: Scenario, back: Scenario) -> None:
    assert network_hash(back) == network_hash(scenario)
    ours, theirs = BatchedEnv(scenario, 2), BatchedEnv(back, 2)
    np.testing.assert_array_equal(ours.reset(7), theirs.reset(7))
    for _ in range(5):
        ours.step(ours.no_action)
        theirs.step(theirs.no_action)
        np.testing.assert_array_equal(ours.observe(), theirs.observe())
        np.testing.assert_array_equal(ours.flows.total_cost, theirs.flows.total_cost)


def test_what_rows_see_of_others_travels() -> None:
    """Written where it is used; a scenario without it has the hash it had before."""
    plain = build("scenario=lost_sales")
    assert not {"companions", "companions_of", "identity"} & set(scenario_to_plain(plain))
    seeing = dataclasses.replace(
        plain, companions=3, companions_of=CompanionsOf.lanes_and_node, identity=True
    )
    back = there_and_back(seeing)
    assert (back.companions, back.companions_of, back.identity) == (3, "lanes_and_node", True)
    assert network_hash(back) == network_hash(seeing) != network_hash(plain)
    wrong = scenario_to_plain(seeing) | {"companions_of": "cousins"}
    with pytest.raises(ArtifactError, match="companions_of is 'cousins'"):
        scenario_from_plain(wrong)
