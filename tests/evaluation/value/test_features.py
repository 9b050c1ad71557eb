"""The features of networks whose answer can be read off."""

from __future__ import annotations

import numpy as np
import pytest

from conf.compose import compose
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.value.candidates import candidates
from evaluation.value.features import FEATURES, features_of, sku_classes
from training.commands.train import TrainCommand


def scenario(name: str, *overrides: str) -> Scenario:
    """A scenario of conf/, as the commands compose it."""
    command = compose(TrainCommand, [f"scenario={name}", *overrides]).command
    return build_scenario(command.scenario)


def test_lost_sales() -> None:
    """One node, Poisson 5, L = 4, h = 1, p = 4."""
    features = features_of(scenario("lost_sales").compiled)
    assert set(features) == set(FEATURES)
    assert features["lead_time"] == pytest.approx(4.0)
    assert features["demand_cv"] == pytest.approx(5.0**-0.5)
    assert features["critical_ratio"] == pytest.approx(4 / 5)
    assert features["lost_share"] == 1.0
    assert features["coupling"] == features["hidden_state"] == features["fixed_cost"] == 0.0


def test_hidden_and_seen_regimes() -> None:
    """The market is hidden, the weather is reported."""
    hidden = features_of(scenario("hidden_regime").compiled)
    weather = features_of(scenario("weather_routing", "smoke=true").compiled)
    assert (hidden["hidden_state"], hidden["seen_state"]) == (1.0, 0.0)
    assert (weather["hidden_state"], weather["seen_state"]) == (0.0, 1.0)
    assert hidden["critical_ratio"] == pytest.approx(19 / 20)


def test_coupling() -> None:
    """Stores compete for the warehouse; items share trucks and a budget; a series nothing."""
    stores = features_of(scenario("one_warehouse_n_stores").compiled)
    assert stores["competing"] == pytest.approx(10 / 11)
    assert stores["shared_resources"] == stores["joint_costs"] == 0.0
    assert stores["coupling"] == pytest.approx(10 / 33)
    items = features_of(scenario("joint_replenishment").compiled)
    assert items["joint_costs"] == items["shared_resources"] == items["fixed_cost"] == 1.0
    assert features_of(scenario("serial").compiled)["coupling"] == 0.0


def test_two_ways_to_buy() -> None:
    """Sea and air to one store."""
    assert features_of(scenario("dual_sourcing").compiled)["sourcing"] == 2.0


def test_candidates_suit_the_network() -> None:
    """The strongest known rule of a class is among them, the scenario's own comes first."""
    assert {"base_stock", "capped_base_stock"} <= set(candidates(scenario("lost_sales")))
    assert "bayes_base_stock" in candidates(scenario("hidden_regime"))
    assert {"s_s", "can_order", "q_s"} <= set(candidates(scenario("joint_replenishment")))
    assert candidates(scenario("dual_sourcing"))[0] == "capped_dual_index"
    assert "can_order" not in candidates(scenario("lost_sales"))


def test_sku_classes_by_demand_times_value() -> None:
    """The first SKUs to 80 % of the worth are A; the others are worth less, each.

    No SKU has a value of its own here, so holding costs stand for values.
    """
    net = scenario("two_echelon_dc").compiled
    classes = sku_classes(net)
    assert set(classes) == {sku.id for sku in net.network.skus}
    sku_of = np.array([s.sku for s in net.network.stocks])
    value = {k: net.arrays.stocks.holding_cost[sku_of == k].mean() for k in classes}
    sold = np.isin(np.arange(sku_of.size), net.customer_pair)
    worth = {k: net.demand.mean[sold & (sku_of == k)].sum() * value[k] for k in classes}
    total = sum(worth.values())
    a = sum(w for k, w in worth.items() if classes[k] == "A")
    smallest = min(w for k, w in worth.items() if classes[k] == "A")
    assert a - smallest < 0.8 * total <= a
    assert smallest >= max((w for k, w in worth.items() if classes[k] != "A"), default=0.0)


def test_one_sku_has_no_class() -> None:
    """There is nothing to rank."""
    assert sku_classes(scenario("lost_sales").compiled) == {}
