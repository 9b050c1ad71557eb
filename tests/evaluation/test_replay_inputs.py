"""Files as companies have them: read right, or refused with what to do."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from echelon import main

INPUTS = Path(__file__).parent / "replay_inputs"


def replay(folder: str, out: Path, network: str, demand: str, *more: str) -> dict[str, Any] | None:
    """Return the summary, None where the command was refused."""
    files = {"network": network, "demand": demand, "orders": "orders.csv"}
    given = [f"{key}={INPUTS / folder / name}" for key, name in files.items()]
    if main(["replay", *given, f"out={out}", *more]) != 0:
        return None
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text("utf-8"))
    return summary


@pytest.mark.parametrize(("network", "demand", "sold"), [
    ("net.yaml", "demand.csv", {"0017": 2, "00123": 3, "1E5": 4}),
    ("net5.yaml", "d5.csv", {"4711": 2}),
    ("net6.yaml", "d6.csv", {"0017": 2}),
])  # fmt: skip
def test_item_codes_are_text(
    network: str, demand: str, sold: dict[str, float], tmp_path: Path
) -> None:
    """From the files to the tables."""
    assert replay("item_codes", tmp_path / "out", network, demand)
    with (tmp_path / "out" / "stocks.csv").open(encoding="utf-8") as file:
        assert {row["sku"]: float(row["sold"]) for row in csv.DictReader(file)} == sold


def test_a_code_is_not_another_written_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """15 is 0017 in base 8."""
    assert replay("item_codes", tmp_path / "out", "net6.yaml", "d7.csv") is None
    assert "SKU '15' is not stocked at node '1000'" in capsys.readouterr().err


READ = {  # what is sold, over how many days
    "a_ok": (9.5, 3), "f_timestamp": (2, 1), "g_header_case": (2, 1), "h_space": (2, 1),
    "l_nfd": (9.5, 3), "n_crlf_bom": (9.5, 3), "p_iso_basic": (2, 1), "q_isoweek": (2, 8),
}  # fmt: skip
REFUSED = {  # with what to do
    "b_semicolon": r"line 1: columns are parted by semicolons; .* CSV UTF-8 \(comma delimited\)",
    "c_de_date": "line 2: date is '28.02.2024'; expected YYYY-MM-DD",
    "d_comma_decimal": "line 2: quantity is '2,5'; .* with a decimal point",
    "e_thousands": "line 2: quantity is '1,200'; .* nothing between",
    "i_returns": "line 2: quantity is '-1'; .* returns off",
    "j_dup": "line 3: period 0 of .* there already, on line 2; .* Add them up",
    "k_extra": "line 1: .* Remove 'customer'",
    "m_latin1": "isn't UTF-8 .* iconv",
    "o_blank_qty": "line 2: quantity is ''; .* leave the row out",
    "r_underscore": "line 2: quantity is '1_5'; .* plain digits",
}


def test_every_dialect_is_read_or_refused() -> None:
    """No file without a test."""
    files = {path.stem for path in (INPUTS / "csv_dialects").glob("?_*.csv")}
    assert files == {*READ, *REFUSED}


@pytest.mark.parametrize("name", READ)
def test_a_table_is_read_right(name: str, tmp_path: Path) -> None:
    """Accents in one character or two, capitals and spaces, midnight, weeks."""
    start = "start=2024-02-28"
    summary = replay("csv_dialects", tmp_path / "out", "net.yaml", f"{name}.csv", start)
    assert summary is not None
    assert (summary["totals"]["sold"], summary["periods"]) == READ[name]


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_is_refused_with_the_remedy(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, that names the file."""
    start = "start=2024-02-28"
    assert replay("csv_dialects", tmp_path / "out", "net.yaml", f"{name}.csv", start) is None
    error = capsys.readouterr().err
    assert re.search(f"{name}.csv.*{REFUSED[name]}", error), error
    assert error.count("\n") == 1


THREE = chr(0x663)  # the Arabic digit
CELLS = {  # quantity, period; what is told
    "huge": ("1e308", "0", "quantity is '1e308'; .* at most 1e.09"),
    "billions": ("1000000001", "0", "at most 1e.09"),
    "Arabic digits": (THREE, "0", f"quantity is '{THREE}'; .* plain digits"),
    "no end": ("inf", "0", "plain digits"),
    "long": ("9" * 100_000 + "x", "0", r"quantity is '9{50,60}\.\.\.; expected"),
    "escape": ("\x1b[2J", "0", r"quantity is '\\x1b\[2J'; expected"),
    "a period in Arabic digits": ("1", THREE, f"period is '{THREE}'"),
    "a period with an underscore": ("1", "1_0", "period is '1_0'"),
}


@pytest.mark.parametrize(("quantity", "period", "told"), CELLS.values(), ids=CELLS)
def test_a_cell_that_is_no_number_is_shown_as_it_is(
    quantity: str, period: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut, and without what a terminal would run."""
    text = f"period,node,sku,quantity\n{period},n,x,{quantity}\n"
    (tmp_path / "d.csv").write_text(text, encoding="utf-8")
    given = [f"network={INPUTS / 'huge_number/net.yaml'}", f"demand={tmp_path / 'd.csv'}"]
    assert main(["replay", *given, "policy=base_stock", f"out={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert re.search(f"d.csv, line 2: .*{told}", error), error
    assert len(error) < 400


def test_rows_without_cells_and_any_order_are_no_trouble(tmp_path: Path) -> None:
    """As spreadsheets leave them."""
    text = "sku,PERIOD,quantity,node\nx, 2 ,3,n\n,,,\nx,0,1e1,n\n"
    (tmp_path / "d.csv").write_text(text, encoding="utf-8")
    given = [f"network={INPUTS / 'huge_number/net.yaml'}", f"demand={tmp_path / 'd.csv'}"]
    assert main(["replay", *given, "policy=base_stock", f"out={tmp_path / 'out'}"]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert (summary["totals"]["demand"], summary["periods"]) == (13, 3)


def test_a_table_that_goes_past_today_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan can be replayed; 2042 for 2024 can't go unseen."""
    today = dt.datetime.now(dt.UTC).date()
    last = today + dt.timedelta(days=30)
    text = (INPUTS / "csv_dialects/a_ok.csv").read_text("utf-8").replace("2024-03-01", str(last))
    (tmp_path / "d.csv").write_text(text, encoding="utf-8")
    given = str(tmp_path / "d.csv")
    assert replay("csv_dialects", tmp_path / "out", "net.yaml", given, "start=2024-02-28")
    assert f"go on to {last}, after today" in capsys.readouterr().out


def table(rows: int, sku: str) -> pa.Table:
    """Demand of one item."""
    whole = pa.array(range(rows))
    columns = {"period": whole, "node": ["n"] * rows, "sku": [sku] * rows, "quantity": whole}
    return pa.table(columns)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda: table(1, "x" * 50_000_000), "and, unpacked, 48 MB; expected at most"),
        (lambda: table(2000, "x" * 200_000), "sku: a cell has 200000 bytes, as 'xxx"),
        (lambda: table(1, "x").set_column(2, "sku", [[["x"]]]), "sku has values of type list<"),
        (lambda: table(1, "x").append_column("a", pa.array([1])), "Remove 'a'"),
    ],
    ids=["one cell", "a cell for all rows", "lists", "columns"],
)
def test_a_small_parquet_file_of_huge_cells_is_not_unpacked(
    given: Callable[[], pa.Table], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some kilobytes on the disk."""
    parquet.write_table(given(), tmp_path / "d.parquet", compression="zstd")
    assert (tmp_path / "d.parquet").stat().st_size < 50_000
    files = [f"network={INPUTS / 'huge_number/net.yaml'}", f"demand={tmp_path / 'd.parquet'}"]
    assert main(["replay", *files, "policy=base_stock", f"out={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert len(error) < 500


FORMULA = "=cmd|'/c calc'!A1"


def test_no_csv_has_a_formula_that_a_name_brought(tmp_path: Path) -> None:
    """Text in CSV, unchanged in Parquet; and the CSV can be replayed."""
    net = (INPUTS / "huge_number/net.yaml").read_text("utf-8")
    for name, evil in (("{n: n}", '{"-n": n}'), ("node: n", 'node: "-n"'), ("{x: 1}", '{"@x": 1}'),
                       ("sku: x", 'sku: "@x"'), ("buy:", f'"{FORMULA}":')):  # fmt: skip
        net = net.replace(name, evil)
    (tmp_path / "net.yaml").write_text(net, encoding="utf-8")
    demand = "period,node,sku,quantity\n0,-n,@x,500\n1,-n,@x,1\n"
    (tmp_path / "d.csv").write_text(demand, encoding="utf-8")
    given = ["replay", f"network={tmp_path / 'net.yaml'}", f"demand={tmp_path / 'd.csv'}"]
    rule = ["policy=base_stock", "policy_params.level=10"]
    assert main([*given, *rule, f"out={tmp_path / 'a'}"]) == 0
    for name in ("stocks", "lanes", "periods"):
        with (tmp_path / "a" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            for cell in itertools.chain(*csv.reader(file)):
                assert not cell.startswith(("=", "+", "@")), cell
                assert not cell.startswith("-") or float(cell) < 0.0
    lanes = parquet.read_table(tmp_path / "a" / "lanes.parquet")
    assert set(lanes["lane"].to_pylist()) == {FORMULA}
    with (tmp_path / "a" / "lanes.csv").open(encoding="utf-8", newline="") as file:
        rows = [[r["period"], r["lane"], r["ordered"]] for r in csv.DictReader(file)]
    assert {lane for _, lane, _ in rows} == {f"'{FORMULA}"}
    with (tmp_path / "o.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["period", "lane", "quantity"], *rows])
    assert main([*given, f"orders={tmp_path / 'o.csv'}", f"out={tmp_path / 'b'}"]) == 0
    assert (tmp_path / "a" / "lanes.csv").read_bytes() == (tmp_path / "b/lanes.csv").read_bytes()
