"""Public reports of other systems' faults, rebuilt with numbers of our own, and what is right.

A folder of `reports` holds the network, the demand and the orders of each; `echelon replay` runs
them. Where a report was made public is named with its test.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from echelon import main

REPORTS = Path(__file__).parent / "reports"


def replayed(tmp_path: Path, name: str, *more: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(stocks by (period, node), lanes by (period, lane)) of a report's replay."""
    given = {"network": "net.yaml", "demand": "demand.csv", "orders": "orders.csv"}
    if any(argument.startswith("policy=") for argument in more):
        del given["orders"]
    files = [f"{key}={REPORTS / name / file}" for key, file in given.items()]
    assert main(["replay", *files, f"out={tmp_path / 'out'}", *more]) == 0
    stocks, lanes = (pd.read_csv(tmp_path / "out" / f"{t}.csv") for t in ("stocks", "lanes"))
    return stocks.set_index(["period", "node", "sku"]), lanes.set_index(["period", "lane"])


def test_a_minimum_and_packs(tmp_path: Path) -> None:
    """At least 15 in packs of 3: never less than is needed, and no more than that takes
    (Dolibarr/dolibarr#38783)."""
    _, lanes = replayed(tmp_path, "moq_multiple")
    assert lanes["asked"].tolist() == [1, 6, 12, 13, 15, 16, 18]
    assert lanes["ordered"].tolist() == [15, 15, 15, 15, 15, 18, 18]


def test_a_customer_who_waits_for_less_than_half_a_pack_gets_one(tmp_path: Path) -> None:
    """Made to order, packs of 12, and 1.11 are wanted (odoo/odoo#256006)."""
    policy = ("policy=base_stock", "policy_params.level=0")
    stocks, lanes = replayed(tmp_path, "pack_backorder", *policy)
    assert lanes["ordered"].tolist() == [0, 12, *[0] * 19]
    assert stocks["backorders"].tolist() == [1.11, 1.11, *[0] * 19]
    assert stocks["cost_backlog"].sum() == pytest.approx(5 * 1.11 * 2)


@pytest.mark.parametrize(
    ("name", "asked"), [("decimal_packs", [1.7, 1.6, 1.7]), ("decimal_packs_2", [2.1, 0, 0])]
)
def test_packs_of_decimals(tmp_path: Path, name: str, asked: list[float]) -> None:
    """What is on the grid, at a limit or not, is ordered as it is (frappe/erpnext#57883,
    odoo/odoo#228014)."""
    _, lanes = replayed(tmp_path, name)
    assert lanes["ordered"].tolist() == asked


def test_half_of_a_pack_comes_later(tmp_path: Path) -> None:
    """Six in a pack of six, half of it two periods late: as without packs."""
    _, lanes = replayed(tmp_path, "split_delivery", "periods=6")
    for lane in ("a", "b"):
        received = lanes.xs(lane, level="lane")["received"]
        assert received.tolist() == [0, 3, 0, 3, 0, 0], lane


def test_a_budget_that_is_enough_for_an_order_lets_it_be(tmp_path: Path) -> None:
    """Nine for 3 (at least) and 8 in packs of 4: both, the second with a pack less."""
    _, lanes = replayed(tmp_path, "budget_cut")
    ordered = lanes["ordered"].unstack()
    assert ordered.loc[:, "a"].tolist()[:4] == [3, 3, 5, 9]
    assert ordered.loc[:, "c"].tolist()[:5] == [0, 4, 4, 0, 8]


def test_what_fits_no_order_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the same budget: 2, 0, 0, 0 and 1 are left, in two periods of five."""
    _, lanes = replayed(tmp_path, "budget_cut")
    assert lanes["ordered"].unstack().sum(axis=1).tolist()[:5] == [3, 7, 9, 9, 8]
    summary = json.loads((tmp_path / "out/summary.json").read_text(encoding="utf-8"))
    assert summary["unused_limits"] == {"b": {"periods": 2, "left": 3.0}}
    assert "Limit 'b' was too small in 2 periods and yet not used up: 3 left" in (
        capsys.readouterr().out
    )


def test_an_order_ships_when_its_sender_hears_of_it(tmp_path: Path) -> None:
    """Lane a tells its sender a period later, and ships then, though goods are received last."""
    _, lanes = replayed(tmp_path, "information_delay", "periods=6")
    shipped = lanes["shipped"].unstack()
    assert shipped["a"].tolist()[:3] == [0, 5, 0]
    assert shipped["b"].tolist()[:3] == [5, 0, 0]


def test_televisions_stay_whole(tmp_path: Path) -> None:
    """Nine for two orders of six each (frappe/erpnext#18391, frePPLe#397)."""
    stocks, lanes = replayed(tmp_path, "whole_units_split")
    assert lanes.loc[(0, "to_a"), "shipped"] == 5
    assert lanes.loc[(0, "to_b"), "shipped"] == 4
    assert stocks["sold"].xs(1, level="period").tolist() == [0, 5, 4]
