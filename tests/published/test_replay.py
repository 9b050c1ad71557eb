"""`echelon replay` reproduces recorded runs of other simulators, every period of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from echelon import main

DATA = Path(__file__).parent / "replay"


class Run:
    """A recorded run replayed through the command, its tables as arrays over [period, name]."""

    def __init__(self, case: str, out: Path, *arguments: str) -> None:
        folder = DATA / case
        given = [f"network={folder / 'network.yaml'}", f"demand={folder / 'demand.csv'}"]
        if (folder / "orders.csv").exists():
            given.append(f"orders={folder / 'orders.csv'}")
        assert main(["replay", *given, f"out={out}", *arguments]) == 0
        self.expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
        self._stocks = pd.read_csv(out / "stocks.csv")
        self._lanes = pd.read_csv(out / "lanes.csv")
        self.periods = pd.read_csv(out / "periods.csv")
        self.summary: dict[str, Any] = json.loads((out / "summary.json").read_text())

    def stock(self, column: str, nodes: list[str]) -> np.ndarray:
        """[T, nodes]"""
        return self._stocks.pivot(index="period", columns="node", values=column)[nodes].to_numpy()

    def lane(self, column: str, lanes: list[str]) -> np.ndarray:
        """[T, lanes]"""
        return self._lanes.pivot(index="period", columns="lane", values=column)[lanes].to_numpy()


def same(ours: Any, theirs: Any) -> None:
    """Equal to 1e-6, entry by entry."""
    np.testing.assert_allclose(
        np.asarray(ours, float), np.asarray(theirs, float), rtol=0, atol=1e-6
    )


def test_invagent(tmp_path: Path) -> None:
    """A chain of four with capacities: stock, backlog, sales, and profit per stage."""
    run = Run("invagent_serial4", tmp_path / "out")
    stages = [f"stage{i}" for i in range(4)]
    inner = ["stage1_to_stage0", "stage2_to_stage1", "stage3_to_stage2"]
    theirs = {name: np.array(run.expected[name], float).T for name in ("inventories", "sales")}
    # Their stock is as it stands after the next period's receipts; the last one is before them.
    stock, received = run.stock("on_hand", stages), run.stock("received", stages)
    same(stock[:-1] + received[1:], theirs["inventories"][1:-1])
    same(stock[-1], theirs["inventories"][-1])
    to_customers = run.stock("sold", ["stage0"]) + run.stock("backlog_served", ["stage0"])
    same(np.hstack([to_customers, run.lane("shipped", inner)]), theirs["sales"][1:])
    backlog = np.hstack([run.stock("backorders", ["stage0"]), run.lane("owed", inner)])
    same(backlog, np.array(run.expected["backlogs"]).T[1:])
    same(-run.stock("cost", stages), run.expected["profits"])
    same(run.summary["totals"]["profit"], run.expected["total"])
    assert run.summary["changed_orders"]["count"] == 0


def test_orgym_chain(tmp_path: Path) -> None:
    """Ships from stock before the day's receipts; unfilled orders wait; discounted reward."""
    run = Run("orgym_inv_management_backlog", tmp_path / "out", "discount=0.97")
    stages = [f"stage{i}" for i in range(3)]
    lanes = ["stage1_to_stage0", "stage2_to_stage1", "supplier_to_stage2"]
    same(run.stock("on_hand", stages), run.expected["I"][1:])
    same(run.lane("in_transit", lanes), run.expected["T"][1:])
    same(run.lane("shipped", lanes), run.expected["R"])
    to_customers = run.stock("sold", ["stage0"]) + run.stock("backlog_served", ["stage0"])
    same(np.hstack([to_customers, run.lane("shipped", lanes)]), run.expected["S"])
    waiting = [run.stock("backorders", ["stage0"]), run.lane("owed", lanes)]
    same(np.hstack(waiting), run.expected["B"])
    same(run.periods["discounted_profit"], run.expected["reward"])
    same(run.summary["totals"]["discounted_profit"], run.expected["total"])


def test_orgym_network(tmp_path: Path) -> None:
    """Two suppliers per node, dropped replenishment orders, goods in transit paid by the lane."""
    run = Run("orgym_network_backlog", tmp_path / "out")
    lanes = [f"n{a}_to_n{b}" for a, b in run.expected["links"]]
    same(run.stock("on_hand", [f"n{i}" for i in run.expected["nodes"]]), run.expected["X"][1:])
    same(run.lane("in_transit", lanes), run.expected["Y"][1:])
    same(run.stock("backorders", ["n1"]), run.expected["U"])
    same(run.periods["profit"], run.expected["reward"])
    same(run.summary["totals"]["profit"], run.expected["total"])


def test_stockpyl(tmp_path: Path) -> None:
    """A policy in place of orders: local base-stock there, the equal echelon base-stock here."""
    run = Run("stockpyl_serial3_base_stock", tmp_path / "out", "policy=echelon_base_stock")
    total = 0.0
    lanes = {"1": "n2_to_n1", "2": "n3_to_n2", "3": "supplier_to_n3"}
    for theirs, record in run.expected["nodes"].items():
        node = [f"n{theirs}"]
        waiting = run.stock("backorders", node) + run.stock("owed", node)
        same((run.stock("on_hand", node) - waiting)[:, 0], record["IL"])
        same(run.lane("ordered", [lanes[theirs]])[:, 0], record["OQ"])
        for column, name in (("holding", "HC"), ("backlog", "SC"), ("in_transit", "ITHC")):
            same(run.stock(f"cost_{column}", node)[:, 0], record[name])
            total += sum(record[name])
    same(run.summary["totals"]["cost"], run.expected["total"])
    assert total == pytest.approx(run.expected["total"])


def test_stockpyl_by_its_own_orders(tmp_path: Path) -> None:
    """What the policy ordered, given as orders, is the same run."""
    by_policy = Run("stockpyl_serial3_base_stock", tmp_path / "a", "policy=echelon_base_stock")
    lanes = pd.read_csv(tmp_path / "a" / "lanes.csv")
    orders = lanes.rename(columns={"ordered": "quantity"})[["period", "lane", "quantity"]]
    orders.to_parquet(tmp_path / "orders.parquet", index=False)
    again = Run(
        "stockpyl_serial3_base_stock", tmp_path / "b", f"orders={tmp_path / 'orders.parquet'}"
    )
    pd.testing.assert_frame_equal(by_policy.periods, again.periods)
    assert again.summary["changed_orders"]["count"] == 0
