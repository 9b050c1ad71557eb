"""JSON that others wrote, wherever it is read: one line says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conf.network_file import scenario_from_file
from envs.errors import ConfigError, EchelonError
from envs.json_text import parse_json, read_json
from evaluation.files.storage import open_storage
from evaluation.tuning.cache import load_tuned, read_policy_params
from evaluation.value.record import read_part
from evaluation.verify.case import NotRunnable, demand_of, load_cases
from training.commands.arguments import with_resumed

WRONG = {
    "deep": ("[" * 100_000, "nested too deep"),
    "NaN": ('{"a": NaN}', "NaN is no number"),
    "infinite": ("[-Infinity]", "-Infinity is no number"),
    "beyond the largest": ("[1e999]", "1e999 is no number"),
    "a key twice": ('{"tea": 1, "tea": 2}', "the key 'tea' comes twice"),
    "cut off": ('{"a": ', "Expecting value"),
    "long numbers": (f"[{'9' * 10_000}]", "digits"),
}
NOT_UTF8 = b'{"a": "\xff"}'
READERS: dict[str, Callable[[Path], Any]] = {
    "a network": scenario_from_file,
    "tuned parameters": lambda path: read_policy_params(str(path), "tea"),
    "a part of a report": read_part,
    "cases": load_cases,
    "arguments": lambda path: with_resumed(
        [f"resume={path.parent}"], "train", "a run", ConfigError
    ),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_what_is_no_json_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_json(text)


def test_what_is_json_is_read() -> None:
    assert parse_json('{"a": [1, 2.5, null, true, "x"]}') == {"a": [1, 2.5, None, True, "x"]}


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    """Nor any of it: this one takes no room on the disk."""
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="has 1048576 MB"):
        read_json(tmp_path / "large.json")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("wrong", [*WRONG, "not UTF-8", "something else"])
def test_every_reader_refuses_it(reader: str, wrong: str, tmp_path: Path) -> None:
    """And names the file."""
    path = tmp_path / "arguments.json"
    data = {"not UTF-8": NOT_UTF8, "something else": b"[1, {}]"}
    path.write_bytes(data.get(wrong) or WRONG[wrong][0].encode())
    with pytest.raises(EchelonError, match="arguments"):
        READERS[reader](path)


def test_a_damaged_cache_is_no_obstacle(tmp_path: Path) -> None:
    """The search is made again."""
    (tmp_path / "key.json").write_text("[" * 100_000, encoding="utf-8")
    assert load_tuned(open_storage(str(tmp_path)), "key") is None


@pytest.mark.parametrize("text", ["Poisson(٣)", "Normal(1.2.3,1)", "U{٠..4}", "Poisson(nan)"])
def test_demand_of_a_case_is_in_plain_digits(text: str) -> None:
    with pytest.raises(NotRunnable, match="is none of poisson"):
        demand_of(text)
