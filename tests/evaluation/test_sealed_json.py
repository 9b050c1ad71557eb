"""Sealed JSON: every other bit is found, wherever a resumed run reads it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs.errors import ConfigError, DataError
from evaluation.files.sealed_json import read_sealed, sealed, unsealed, write_sealed
from evaluation.files.storage import open_storage
from evaluation.tuning import choose
from evaluation.tuning.cache import load_tuned, store_tuned
from evaluation.tuning.search import Tuned
from evaluation.value.record import read_part, write_part

PLAIN = {"b": [1, 2.5, None], "a": {"x": True, "y": "ü"}}


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """All of them, one after the other, and a file that is cut, emptied or gone."""
    path = tmp_path / "new" / "a.json"
    write_sealed(path, PLAIN)
    good = path.read_bytes()
    assert read_sealed(path) == PLAIN
    assert list(read_sealed(path)) == ["b", "a"]
    bad = [
        good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
        for at in range(len(good))
        for bit in range(8)
    ]
    for content in [*bad, good[:-1], good + b" ", b"", b"[]"]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.json"):
            read_sealed(path, error=DataError)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.json"):
        read_sealed(path, error=DataError)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (PLAIN, "no seal"),
        ({**sealed(PLAIN), "b": [1, 2.5]}, "SHA-256 is another"),
        ({**sealed(PLAIN), "sha256": None}, "SHA-256 is another"),
    ],
    ids=["never sealed", "changed", "no sum"],
)
def test_a_record_says_what_is_wrong(record: dict[str, Any], told: str) -> None:
    assert unsealed(sealed(PLAIN)) == PLAIN
    with pytest.raises(ValueError, match=told):
        unsealed(record)


def another_digit(path: Path) -> None:
    """A number of the content is another one; it is JSON of the same form."""
    text = path.read_text(encoding="utf-8")
    assert text.count("7.25") == 1
    path.write_text(text.replace("7.25", "7.75"), encoding="utf-8")


TUNED = Tuned({"level": {"shop": 7.25}}, 3.0, 10, 1000, history=[(1, 4.0), (2, 3.0)])


def of_cache(folder: Path) -> Callable[[], Any]:
    store_tuned(open_storage(str(folder)), "key", TUNED)
    return lambda: load_tuned(open_storage(str(folder)), "key")


def of_choice(folder: Path) -> Callable[[], Any]:
    write_sealed(folder / "key.json", {"parameters": 7.25})
    return lambda: choose._read(folder / "key.json")


@pytest.mark.parametrize("kept", [of_cache, of_choice])
def test_what_can_be_made_anew_is(kept: Callable[[Path], Any], tmp_path: Path) -> None:
    """Nothing of a damaged record is used."""
    read = kept(tmp_path)
    assert read() is not None
    another_digit(tmp_path / "key.json")
    assert read() is None


def test_a_search_of_one_trace_is_kept(tmp_path: Path) -> None:
    """Its interval is infinite, which JSON doesn't have."""
    tuned = dataclasses.replace(TUNED, half_width=math.inf)
    store_tuned(open_storage(str(tmp_path)), "key", tuned)
    assert load_tuned(open_storage(str(tmp_path)), "key") == tuned


def test_a_damaged_part_of_a_report_is_refused(tmp_path: Path) -> None:
    """It is not published, and what to do is said."""
    path = tmp_path / "seed_0.json"
    write_part(path, {"cost": 7.25})
    another_digit(path)
    with pytest.raises(ConfigError, match=r"seed_0\.json.* changed by hand.* then resume"):
        read_part(path)
