"""What is wrong with tables is one line that says where; nothing is written then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from echelon import main

STOCK = "location,item,on_hand\nstore_000,item_00,3\n"
SALES = "location,item,date,quantity"
PAIR = "store_000,item_00"


def refused(
    tmp_path: Path, artifact: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> str:
    """The one line of error; asserts that nothing is written."""
    out = tmp_path / "out" / "lines.parquet"
    data = [f"data={tmp_path / 'data'}", f"out={out}", f"artifact={artifact}"]
    assert main(["recommend", *data, *options]) == 1
    assert not out.exists()
    [line] = capsys.readouterr().err.splitlines()
    return line.removeprefix("echelon recommend: error: ")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("stock", f"location,item,on_hand\n{PAIR},-3\n",
         "line 2: on_hand is '-3'; expected greater than or equal to 0."),
        ("stock", f"{STOCK}\nstore_001,item_00,many\nstore_001,item_01,1_000\n",
         "line 4: on_hand is 'many'; expected a number, such as 1200.5. 1 more rows"),
        ("stock", f"location,item,on_hand\n{PAIR},\n",
         "line 2: on_hand is ''; expected a value."),
        ("stock", f"location,item,on_hand\n{PAIR},nan\n", "line 2: on_hand is 'nan'; expected a"),
        ("stock", f"location,item,on_hand\n{PAIR},1e400\n", "line 2: on_hand is '1e400'; "),
        ("stock", f"location,item,on_hand\n{'x' * 300},item_00,1\n", "line 2: location is 'xxx"),
        ("stock", "location,item,on_hand\nmars,item_00,1\n",
         "line 2: location is 'mars'; location 'mars' is unknown."),
        ("stock", f"{STOCK}{PAIR},4\n", "line 3: 'item_00@store_000' is given twice"),
        ("stock", "location,item\n", "line 1: column on_hand is missing; expected location, item,"),
        ("stock", "location,item,on_hand,qty\n", "line 1: column 'qty' is unknown."),
        ("stock", "location,item,on_hand,item\n", "line 1: column 'item' is there twice."),
        ("stock", "location;item;on_hand\n", "line 1: columns are parted by semicolons"),
        ("stock", f"location,item,on_hand\n{PAIR},1,5\n", "line 2: 4 cells; expected 3"),
        ("stock", f"{STOCK[:-2]}\xff\n".encode("latin-1"), "isn't UTF-8"),
        ("stock", f"location,item,on_hand,date\n{PAIR},1,-20\n",
         "line 2: date is '-20'; is -20: counted 20 days before as_of"),
        ("open_orders", f"to,item,quantity,eta\n{PAIR},1,20261122\n",
         "line 2: eta is '20261122'; expected a date as YYYY-MM-DD."),
        ("open_orders", f"to,item,quantity,eta\n{PAIR},1,2026-11-23\n",
         "line 2: eta is '2026-11-23'; can't be counted from: as_of is missing"),
        ("open_orders", f"to,item,quantity,due_in_periods\n{PAIR},1,1.5\n",
         "line 2: due_in_periods is '1.5'; expected a whole number."),
        ("open_orders", "to,quantity\nstore_000,1\n", "line 2: give lane, or to and item."),
        ("open_orders", "lane,quantity\nx,1\n", "line 2: lane is 'x'; lane 'x' is unknown."),
        ("recent_sales", f"{SALES}\n{PAIR},-1,-4\n",
         "line 2: quantity is '-4'; expected a number from 0 to 1e+09 [units]."),
        ("recent_sales", f"{SALES}\n{PAIR},-1,4\n{PAIR},0,4\n",
         "line 3: date is '0'; expected a period whose demand is known when orders are placed, so "
         "one before as_of."),
        ("recent_sales", f"{SALES}\n{PAIR},-1,4\n{PAIR},-1,4\n",
         "line 3: date is '-1'; expected one row for each pair and period: add them up."),
        ("recent_sales", f"{SALES}\n{PAIR},,4\n", "line 2: date is ''; expected a value."),
        ("recent_sales", f"{SALES}\n{PAIR},2026-11-21,4\n",
         "line 2: date is '2026-11-21'; as_of is missing, from which it is counted"),
        ("recent_sales", f"{SALES}\n{PAIR},yesterday,4\n", "line 2: date is 'yesterday'; expected"),
        ("recent_sales", f"{SALES}\nmars,item_00,-1,4\n{PAIR},-1,4\n",
         "line 2: location is 'mars'; location 'mars' is unknown."),
        ("recent_sales", f"{SALES},stockout\n{PAIR},-1,4,maybe\n",
         "line 2: stockout is 'maybe'; expected true or false."),
        ("recent_sales", f"{SALES},transfers\n{PAIR},-2,4,1\n{PAIR},-1,4,\n",
         "line 2: transfers is '1'; expected a number for every period"),
        ("stocks", STOCK, "has 'stocks.csv', which is no table"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(
    name: str, text: str | bytes, message: str, tmp_path: Path, artifact_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """File, line, column, value, and what was expected."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "stock.csv").write_text(STOCK)
    content = text if isinstance(text, bytes) else text.encode()
    (data / f"{name}.csv").write_bytes(content)
    line = refused(tmp_path, artifact_folder, capsys)
    assert message in line
    assert line.startswith(f"{data}/{name}.csv" if name != "stocks" else f"data={data} has")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("on_hand", [1.0, float("inf")], "row 2: on_hand is inf; expected a finite number"),
        ("on_hand", [False, True], "row 1: on_hand is False; expected a number"),
        ("location", ["store_000", None], "row 2: location is None; expected a value"),
        ("date", [20261122, 1], "row 1: date is 20261122; expected"),
        ("date", pd.to_datetime(["2026-11-22 00:00", "2026-11-22 07:30"]),
         "row 2: date is "),
    ],
)  # fmt: skip
def test_parquet_has_types_and_they_are_checked(
    column: str, values: Any, message: str, tmp_path: Path, artifact_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Numbers aren't dates, truth values aren't numbers."""
    frame = pd.DataFrame(
        {"location": ["store_000", "store_001"], "item": "item_00", "on_hand": 1.0}
    )
    frame[column] = pd.Series(values)
    (tmp_path / "data").mkdir()
    frame.to_parquet(tmp_path / "data" / "stock.parquet")
    line = refused(tmp_path, artifact_folder, capsys, "as_of=2026-11-22")
    assert f"stock.parquet, {message}" in line


def test_folders_that_are_none(
    tmp_path: Path, artifact_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No tables, two of one name, tables beside folders, tables too deep."""
    data = tmp_path / "data"
    assert "there is nothing" in refused(tmp_path, artifact_folder, capsys)
    (data / "deep" / "er").mkdir(parents=True)
    (data / "deep" / "er" / "stock.csv").write_text(STOCK)
    assert "deep/er/stock.csv lies too deep" in refused(tmp_path, artifact_folder, capsys)
    (data / "deep" / "er" / "stock.csv").rename(data / "deep" / "prices.csv")
    assert f"{data}/deep has no stock" in refused(tmp_path, artifact_folder, capsys)
    (data / "deep" / "prices.csv").rename(data / "deep" / "stock.csv")
    (data / "stock.csv").write_text(STOCK)
    assert "both tables and folders" in refused(tmp_path, artifact_folder, capsys)
    (data / "deep" / "stock.csv").rename(data / "stock.parquet")
    assert "has both stock.csv and stock.parquet" in refused(tmp_path, artifact_folder, capsys)
    (data / "stock.csv").unlink()
    assert "stock.parquet: not readable as Parquet" in refused(tmp_path, artifact_folder, capsys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["out=lines.xlsx"], "out is 'lines.xlsx'; expected a file that ends in .parquet or .csv"),
        (["out=gs://bucket/lines.csv"], "can't be used; expected s3://bucket/prefix"),
        (["out=null"], "out is missing"),
        (["data=null"], "data is missing"),
        (["policy=magic"], "policy is 'magic'; expected champion or classical"),
        (["as_of=tomorrow"], "as_of is 'tomorrow'; expected YYYY-MM-DD, or today"),
        (["stale_after=20"], "expected 0 <= stale_after <= refuse_after"),
        (["run_id=' '"], "run_id is empty"),
        (["network=docs/how_to/your_network/bakery.yaml"], "was trained on another network"),
        (["artifact=none"], "artifact=none is no folder with a manifest.json"),
    ],
)
def test_an_option_out_of_bounds_is_refused(
    options: list[str], message: str, tmp_path: Path, artifact_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "stock.csv").write_text(STOCK)
    assert message in refused(tmp_path, artifact_folder, capsys, *options)
