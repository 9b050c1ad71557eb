"""`echelon replay`: what it reads, what it refuses, and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from echelon import main

NETWORK = """
nodes: {dc: warehouse, shop: store}
skus: {tea: 3, rice: 1}
timing: {in_transit_payer: receiver}
stocks:
  dc_tea: {node: dc, sku: tea, initial_stock: 40, holding_cost: 0.5}
  shop_tea: {node: shop, sku: tea, initial_stock: 10, holding_cost: 1, backlog_cost: 9, price: 5}
  shop_rice:
    {node: shop, sku: rice, initial_stock: 5, holding_cost: 1, lost_sale_cost: 2, p_wait: 0}
lanes:
  buy: {node: dc, sku: tea, lead_time: 2, unit_cost: 3, order_multiple: 4}
  truck: {node: shop, sku: tea, lead_time: 1, inputs: {tea@dc: 1}, maximum_order: 20}
  rice: {node: shop, sku: rice, lead_time: 0, fixed_cost: 7}
"""
DEMAND = """period,node,sku,quantity
0,shop,tea,4
1,shop,tea,8
1,shop,rice,6
3,shop,tea,2.5
"""
ORDERS = """period,lane,quantity
0,truck,6
0,buy,8
2,rice,3
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A network of two nodes and two SKUs, demand and orders, as files."""
    written = {"network.yaml": NETWORK, "demand.csv": DEMAND, "orders.csv": ORDERS}
    for name, text in written.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return {Path(name).stem: tmp_path / name for name in written}


def command(files: dict[str, Path], out: Path, *more: str) -> int:
    """Run `echelon replay` on the files; later arguments win."""
    return main(["replay", *(f"{key}={path}" for key, path in files.items()), f"out={out}", *more])


def read(out: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """stocks and lanes by (period, name), periods, summary."""
    stocks, lanes, periods = (pd.read_csv(out / f"{t}.csv") for t in ("stocks", "lanes", "periods"))
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return (
        stocks.set_index(["period", "node", "sku"]).sort_index(),
        lanes.set_index(["period", "lane"]).sort_index(),
        periods.set_index("period"),
        summary,
    )


def test_a_run_by_hand(files: dict[str, Path], tmp_path: Path) -> None:
    """Four periods, every flow, level and cost column worked out on paper."""
    assert command(files, tmp_path / "out", "discount=0.5") == 0
    stocks, lanes, periods, summary = read(tmp_path / "out")
    tea = stocks.xs(("shop", "tea"), level=("node", "sku"))
    assert tea["demand"].tolist() == [4, 8, 0, 2.5]
    assert tea["received"].tolist() == [0, 6, 0, 0]
    assert tea["sold"].tolist() == [4, 8, 0, 2.5]
    assert tea["on_hand"].tolist() == [6, 4, 4, 1.5]
    assert tea["in_transit"].tolist() == [6, 0, 0, 0]
    assert tea["cost_in_transit"].tolist() == [6, 0, 0, 0]
    assert tea["cost_revenue"].tolist() == [-20, -40, 0, -12.5]
    assert tea["cost"].tolist() == [-8, -36, 4, -11]
    rice = stocks.xs(("shop", "rice"), level=("node", "sku"))
    assert rice["sold"].tolist() == [0, 5, 0, 0]
    assert rice["lost"].tolist() == [0, 1, 0, 0]
    assert rice["received"].tolist() == [0, 0, 3, 0]
    assert rice["cost"].tolist() == [5, 2, 10, 3]
    dc = stocks.xs(("dc", "tea"), level=("node", "sku"))
    assert dc["shipped"].tolist() == [6, 0, 0, 0]
    assert dc["on_hand"].tolist() == [34, 34, 42, 42]
    assert dc["cost_purchase"].tolist() == [24, 0, 0, 0]
    assert list(lanes.loc[(0, "buy"), ["asked", "ordered", "shipped", "in_transit"]]) == [8] * 4
    cost = tea["cost"] + rice["cost"] + dc["cost"]
    assert periods["profit"].tolist() == (-cost).tolist()
    assert periods["discounted_profit"].tolist() == (-cost * 0.5 ** np.arange(4)).tolist()
    assert summary["totals"]["cost"] == cost.sum()
    assert summary["totals"]["demand"] == 20.5
    assert summary["at_the_end"]["on_hand"] == 1.5 + 3 + 42
    assert summary["changed_orders"] == {"count": 0, "first": []}
    digest = hashlib.sha256(files["orders"].read_bytes()).hexdigest()
    assert summary["files"]["orders"] == {"path": str(files["orders"]), "sha256": digest}


def test_units_are_conserved_and_costs_add_up(tmp_path: Path) -> None:
    """Random demand and orders on a plant with a bill of materials and random lead times."""
    rng, periods = np.random.default_rng(3), range(60)
    demand = [(t, "warehouse", "machine", float(rng.poisson(8))) for t in periods]
    lanes = ["buy_frames", "buy_motors", "assemble", "truck"]
    orders = [(t, lane, float(rng.integers(0, 18))) for t in periods for lane in lanes]
    given = {"demand": tmp_path / "demand.parquet", "orders": tmp_path / "orders.parquet"}
    columns = ["period", "node", "sku", "quantity"]
    pd.DataFrame(demand, columns=columns).to_parquet(given["demand"])
    pd.DataFrame(orders, columns=["period", "lane", "quantity"]).to_parquet(given["orders"])
    assert command(given, tmp_path / "out", "scenario=assembly") == 0
    stocks, by_lane, totals, summary = read(tmp_path / "out")
    left = ["received", "shipped", "sold", "backlog_served"]
    for name, rows in stocks.groupby(["node", "sku"]):
        start = {"warehouse machine": 40, "plant machine": 20}.get(" ".join(map(str, name)), 60)
        before = np.append(start, rows["on_hand"].to_numpy()[:-1])
        got, *gone = (rows[column].to_numpy() for column in left)
        np.testing.assert_allclose(rows["on_hand"], before + got - sum(gone), atol=1e-9)
        unmet = (rows["demand"] - rows["sold"] - rows["lost"] - rows["backlog_served"]).cumsum()
        np.testing.assert_allclose(rows["backorders"], unmet, atol=1e-9)
    for _, rows in by_lane.groupby("lane"):
        owed = (rows["ordered"] - rows["shipped"] - rows["cancelled"]).cumsum()
        np.testing.assert_allclose(rows["owed"], owed, atol=1e-9)
        on_way = (rows["shipped"] - rows["received"] - rows["scrapped"]).cumsum()
        np.testing.assert_allclose(rows["in_transit"], on_way, atol=1e-9)
    parts = [column for column in stocks if str(column).startswith("cost_")]
    np.testing.assert_allclose(stocks[parts].sum(axis=1), stocks["cost"], atol=1e-9)
    np.testing.assert_allclose(totals["cost"], stocks.groupby("period")["cost"].sum(), atol=1e-9)
    assert totals["demand"].tolist() == [units for *_, units in demand]
    frames = stocks.xs(("plant", "frame"), level=("node", "sku"))
    made = by_lane.xs("assemble", level="lane")
    assert frames["shipped"].tolist() == (2 * made["shipped"]).tolist()
    assert frames["owed"].max() > 0
    assert summary["changed_orders"]["count"] == 0


def test_a_policy_and_its_orders_given_are_the_same_run(tmp_path: Path) -> None:
    """Also where lead times are random: equal seeds draw equal ones. Another seed doesn't."""
    demand = [(t, "warehouse", "machine", 6 + t % 5) for t in range(40)]
    table = pd.DataFrame(demand, columns=["period", "node", "sku", "quantity"])
    table.to_csv(tmp_path / "demand.csv", index=False)
    given = {"demand": tmp_path / "demand.csv"}
    levels = (
        "policy_params.level={frame@plant: 90, motor@plant: 60, machine@plant: 25, warehouse: 50}"
    )
    policy = ["scenario=assembly", "policy=base_stock", levels]
    assert command(given, tmp_path / "policy", *policy, "seed=5") == 0
    lanes = pd.read_csv(tmp_path / "policy" / "lanes.csv")
    orders = lanes.rename(columns={"ordered": "quantity"})[["period", "lane", "quantity"]]
    orders.to_csv(tmp_path / "orders.csv", index=False)
    given["orders"] = tmp_path / "orders.csv"
    for seed in (5, 6):
        assert command(given, tmp_path / f"orders{seed}", "scenario=assembly", f"seed={seed}") == 0
    wanted, same, other = (
        pd.read_csv(tmp_path / folder / "stocks.csv") for folder in ("policy", "orders5", "orders6")
    )
    pd.testing.assert_frame_equal(wanted, same)
    assert not wanted["received"].equals(other["received"])
    summary = read(tmp_path / "policy")[-1]
    assert summary["policy"] == "base_stock"
    assert summary["policy_params"]["level"]["warehouse"] == 50
    assert wanted["ordered"].sum() > 0


def test_csv_parquet_and_dates_say_the_same(files: dict[str, Path], tmp_path: Path) -> None:
    """Text or typed columns, periods or dates, any order of rows; both forms of output agree."""
    assert command(files, tmp_path / "csv") == 0
    demand, orders = (pd.read_csv(files[name]) for name in ("demand", "orders"))
    typed = {**files, "demand": tmp_path / "d.parquet", "orders": tmp_path / "o.parquet"}
    demand.sample(frac=1, random_state=1).to_parquet(typed["demand"])
    orders.assign(period=orders["period"].astype(float)).to_parquet(typed["orders"])
    assert command(typed, tmp_path / "parquet") == 0
    days = [
        pd.Timestamp("2024-02-28") + pd.to_timedelta(t["period"], "D") for t in (demand, orders)
    ]
    dated = {**files, "demand": tmp_path / "dates.parquet", "orders": tmp_path / "dates.csv"}
    demand.assign(date=days[0]).drop(columns="period").to_parquet(dated["demand"])
    orders.assign(date=days[1]).drop(columns="period").to_csv(dated["orders"], index=False)
    assert command(dated, tmp_path / "dates", "start=2024-02-28") == 0
    for table in ("stocks", "lanes", "periods"):
        wanted = pd.read_csv(tmp_path / "csv" / f"{table}.csv")
        for folder in ("csv", "parquet", "dates"):
            parquet = pd.read_parquet(tmp_path / folder / f"{table}.parquet")
            text = pd.read_csv(tmp_path / folder / f"{table}.csv")
            if folder == "dates":
                assert text["date"].iloc[-1] == str(parquet["date"].iloc[-1]) == "2024-03-02"
                parquet, text = parquet.drop(columns="date"), text.drop(columns="date")
            pd.testing.assert_frame_equal(text, wanted)
            pd.testing.assert_frame_equal(parquet, wanted, check_dtype=False)  # 4.0 is 4 in CSV


def test_dates_are_the_networks(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of its start date, in its periods; days of a week are one period."""
    text = f"start_date: 2024-01-01\nperiod_name: week\n{NETWORK}"
    files["network"].write_text(text, encoding="utf-8")
    files["demand"].write_text(
        "date,node,sku,quantity\n2024-01-07,shop,tea,4\n2024-01-10,shop,tea,8\n", encoding="utf-8"
    )
    files["orders"].write_text("date,lane,quantity\n2024-01-08,buy,7\n", encoding="utf-8")
    assert command(files, tmp_path / "out") == 0
    stocks, _, periods, summary = read(tmp_path / "out")
    assert periods["date"].tolist() == ["2024-01-01", "2024-01-08"]
    assert stocks["demand"].loc[:, "shop", "tea"].tolist() == [4, 8]
    assert (summary["period"], summary["start"]) == ("week", "2024-01-01")
    [changed] = summary["changed_orders"]["first"]
    assert (changed["period"], changed["date"]) == (1, "2024-01-08")
    assert command(files, tmp_path / "hours", "scenario.period_name=hour") == 1
    assert "expected the column period" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["orders", "policy"])
def test_a_history_begins_on_its_day_of_the_networks_calendar(
    files: dict[str, Path], tmp_path: Path, given: str
) -> None:
    """A lane that is open on Mondays, a history from a Saturday on."""
    text = NETWORK.replace("order_multiple: 4", "calendar: {open: [mon]}")
    files["network"].write_text(f"start_date: 2024-01-01\n{text}", encoding="utf-8")
    demand = "".join(f"2024-03-{d:02},shop,tea,{d}\n" for d in range(2, 13))
    files["demand"].write_text(f"date,node,sku,quantity\n{demand}", encoding="utf-8")
    orders = "".join(f"2024-03-{d:02},buy,4\n" for d in range(2, 13))
    files["orders"].write_text(f"date,lane,quantity\n{orders}", encoding="utf-8")
    more = ["start=2024-03-02"]
    if given == "policy":
        del files["orders"]
        more += ["policy=base_stock", "policy_params.level=400"]
    assert command(files, tmp_path / "out", *more) == 0
    _, lanes, periods, summary = read(tmp_path / "out")
    assert periods["demand"].tolist() == [*range(2, 13)]
    bought = lanes.xs("buy", level="lane")
    assert set(bought.loc[bought["ordered"] > 0, "date"]) == {"2024-03-04", "2024-03-11"}
    assert summary["start"] == "2024-03-02"
    if given == "orders":
        assert command(files, tmp_path / "before", "start=2023-12-31") == 1


def test_orders_that_are_not_feasible_are_executed_as_far_as_they_are_and_told(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Packs of four and a maximum of twenty: the run goes on, the changes are listed."""
    text = "period,lane,quantity\n0,buy,7\n0,truck,25\n1,buy,8\n2,buy,1\n"
    files["orders"].write_text(text, encoding="utf-8")
    assert command(files, tmp_path / "out") == 0
    _, lanes, _, summary = read(tmp_path / "out")
    assert list(lanes.loc[(0, "buy"), ["asked", "ordered"]]) == [7, 8]
    assert list(lanes.loc[(0, "truck"), ["asked", "ordered"]]) == [25, 20]
    assert list(lanes.loc[(2, "buy"), ["asked", "ordered"]]) == [1, 4]
    changed = summary["changed_orders"]
    assert changed["count"] == 3
    assert changed["first"] == [
        {"period": 0, "lane": "buy", "asked": 7, "ordered": 8, "rules": ["order_multiple"]},
        {"period": 0, "lane": "truck", "asked": 25, "ordered": 20, "rules": ["maximum_order"]},
        {"period": 2, "lane": "buy", "asked": 1, "ordered": 4, "rules": ["order_multiple"]},
    ]
    warning = "Warning: 3 orders not feasible as given; the first: period 0, lane 'buy', 7 became 8"
    assert warning in capsys.readouterr().out


def test_given_demand_replaces_the_network_s_own(tmp_path: Path) -> None:
    """A stock that the table leaves out has no demand; the length can be told."""
    (tmp_path / "demand.csv").write_text("period,node,sku,quantity\n", encoding="utf-8")
    (tmp_path / "orders.csv").write_text("period,lane,quantity\n0,truck,1\n", encoding="utf-8")
    given = {name: tmp_path / f"{name}.csv" for name in ("demand", "orders")}
    assert command(given, tmp_path / "out", "scenario=assembly", "periods=7") == 0
    _, _, periods, _ = read(tmp_path / "out")
    assert periods["demand"].tolist() == [0] * 7
    assert periods["ordered"].sum() == 1


MISTAKES = {
    "missing column": ("demand", "period,node,quantity\n", "line 1: the columns are period, node"),
    "unknown column": ("orders", "period,lane,qty\n", "expected period, lane, quantity"),
    "empty file": ("orders", "", "line 1: the columns are missing"),
    "unknown lane": ("orders", "period,lane,quantity\n0,trcuk,3\n", "line 2: lane is 'trcuk'"),
    "with a guess": ("orders", "period,lane,quantity\n0,trcuk,3\n", "Did you mean 'truck'?"),
    "unknown node": ("demand", "period,node,sku,quantity\n0,shp,tea,3\n", "node is 'shp'"),
    "unknown sku": ("demand", "period,node,sku,quantity\n0,shop,te,3\n", "sku is 'te'"),
    "not stocked": ("demand", "period,node,sku,quantity\n0,dc,rice,3\n", "not stocked at node"),
    "negative": ("orders", "period,lane,quantity\n1,truck,-3\n", "line 2: quantity is '-3'"),
    "not a number": ("orders", "period,lane,quantity\n1,truck,few\n", "quantity is 'few'"),
    "nan": ("orders", "period,lane,quantity\n1,truck,nan\n", "quantity is 'nan'"),
    "missing quantity": ("orders", "period,lane,quantity\n1,truck,\n", "quantity is ''"),
    "early period": ("orders", "period,lane,quantity\n-1,truck,3\n", "period is '-1'"),
    "half a period": ("orders", "period,lane,quantity\n0.5,truck,3\n", "period is '0.5'"),
    "a date as a period": ("orders", "period,lane,quantity\n20240131,truck,3\n", "column date"),
    "a cell too many": ("orders", "period,lane,quantity\n0,truck,3,4\n", "line 2: 4 cells"),
    "twice": ("orders", "period,lane,quantity\n0,truck,3\n\n0,truck,4\n", "line 4: period 0 of"),
    "dates without a start": ("orders", "date,lane,quantity\n2024-01-31,truck,3\n", "give start="),
    "latin 1": ("orders", "period,lane,quantity\n0,tr\xfcck,3\n", "UTF-8"),
    "no such node": ("network", NETWORK.replace("node: dc,", "node: dk,"), "'dk'"),
    "unknown key": (
        "network", NETWORK.replace("fixed_cost", "fixd_cost"), "Did you mean 'fixed_cost'?"
    ),
    "a name twice": ("network", NETWORK + "lanes: {}", "line 14: 'lanes' comes twice"),
    "wrong type": ("network", NETWORK.replace("lead_time: 1", "lead_time: soon"), "truck.lead"),
    "broken YAML": ("network", NETWORK + "lanes: {", "network.yaml"),
    "another kind": ("network", "defaults: [schema_serial, _self_]\n", "schema_explicit"),
    "a list": ("network", "- nodes\n", "expected keys"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_file_is_one_line_and_leaves_nothing(
    name: str, text: str, told: str, files: dict[str, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The line names the file and what is wrong; an earlier replay in the folder stays whole."""
    out = tmp_path / "out"
    assert command(files, out) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    files[name].write_text(text, encoding="latin-1" if told == "UTF-8" else "utf-8")
    capsys.readouterr()
    assert command(files, out) == 1
    error = capsys.readouterr().err.strip()
    assert told in error
    assert files[name].name in error
    assert len(error.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {*(p.name for p in files.values()), "out"}


CHOICES = {
    "no demand": (["scenario=assembly", "orders=o.csv"], "demand is missing"),
    "no network": (["demand=d.csv", "orders=o.csv"], "network, scenario: neither is given"),
    "two networks": (
        ["network=n.yaml", "scenario=serial", "demand=d.csv", "orders=o.csv"],
        "network, scenario: both are given",
    ),
    "no orders": (["scenario=assembly", "demand=d.csv"], "orders, policy: neither is given"),
    "orders and a policy": (
        ["scenario=assembly", "demand=d.csv", "orders=o.csv", "policy=base_stock"],
        "orders, policy: both are given",
    ),
    "parameters of no policy": (
        ["scenario=assembly", "demand=d.csv", "orders=o.csv", "policy_params.level=3"],
        "without a policy",
    ),
    "no period": (["scenario=assembly", "demand=d", "orders=o", "periods=0"], "periods is 0"),
    "no discount": (["scenario=assembly", "demand=d", "orders=o", "discount=0"], "discount is 0"),
    "no day": (
        ["scenario=assembly", "demand=d", "orders=o", "start=2024-02-30"],
        "start is '2024-02-30'",
    ),
    "no file": (["network=no.yaml", "demand=d.csv", "orders=o.csv"],
                "no.yaml: no such file; expected a YAML file"),
    "no table": (["scenario=assembly", "demand=no.csv", "orders=o.csv"], "no.csv: no such file"),
    "no format": (["scenario=assembly", "demand=d.xlsx", "orders=o.csv"], "expected .csv or"),
    "unknown key": (["networc=n.yaml"], "networc"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "told"), CHOICES.values(), ids=CHOICES)
def test_a_wrong_choice_is_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of options and files."""
    monkeypatch.chdir(tmp_path)
    assert main(["replay", *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert told in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_unknown_key_of_the_network_names_the_nearest(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files["network"].write_text(NETWORK + "horizn: 9\n", encoding="utf-8")
    assert command(files, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "network.yaml: 'horizn' is unknown. Did you mean 'horizon'?" in error


def test_an_unknown_policy_names_the_known(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Policies and their parameters are checked as in other commands."""
    del files["orders"]
    assert command(files, tmp_path / "out", "policy=base_stok") == 1
    assert "Did you mean 'base_stock'?" in capsys.readouterr().err
    assert command(files, tmp_path / "out", "policy=base_stock", "policy_params.levle=3") == 1
    assert "'levle' is unknown" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_damaged_parquet_file_is_one_line(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text under the wrong name, and a column of the wrong type."""
    files["orders"] = tmp_path / "orders.parquet"
    files["orders"].write_text(ORDERS, encoding="utf-8")
    assert command(files, tmp_path / "out") == 1
    assert "orders.parquet: not readable as Parquet" in capsys.readouterr().err
    table = pd.DataFrame({"period": [0, 1], "lane": ["truck", None], "quantity": [1.0, 2.0]})
    table.to_parquet(files["orders"])
    assert command(files, tmp_path / "out") == 1
    assert "orders.parquet, row 2: lane is None; expected a name." in capsys.readouterr().err


def test_fewer_periods_than_the_tables_have_are_refused(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing given is left out silently."""
    assert command(files, tmp_path / "out", "periods=3") == 1
    assert "the last period is 3; expected at most 2" in capsys.readouterr().err


def test_a_folder_with_other_files_is_refused(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An earlier replay gives way, anything else doesn't."""
    out = tmp_path / "out"
    assert command(files, out) == 0
    assert command(files, out, "periods=9") == 0
    assert len(read(out)[2]) == 9
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    assert command(files, out) == 1
    assert "holds other files" in capsys.readouterr().err
    assert (out / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert len(read(out)[2]) == 9


def test_help_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """With what it means."""
    assert main(["replay", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("network", "demand", "orders", "policy_params", "start", "discount", "out"):
        assert f"{option}:" in text
    assert "scenario=<assembly" in text
