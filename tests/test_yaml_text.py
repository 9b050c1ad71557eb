"""Network files: what is text, what is refused before anything is built of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conf.network_file import scenario_from_file
from conf.yaml_text import parse_yaml, read_yaml
from envs.errors import ConfigError
from envs.scenarios import build_scenario

CODES = Path(__file__).parent / "evaluation/replay_inputs/item_codes"
QUOTED = [f"{CODES}/net{n}.yaml" for n in ("", "2", "3", "4")]  # in more and more quotes


@pytest.mark.parametrize("path", QUOTED)
def test_item_codes_stay_as_they_are_written(path: str) -> None:
    """0017 isn't 15 and NO isn't False, quoted or not, as a key or as a value."""
    network = build_scenario(scenario_from_file(Path(path))).network
    assert [stock.label for stock in network.stocks] == ["0017@NO", "00123@SE", "1E5@SE"]
    assert [sku.id for sku in network.skus] == ["0017", "00123", "1E5", "89"]
    assert [stock.initial_stock for stock in network.stocks] == [5, 7, 9]


def test_codes_that_are_one_number_are_two_items() -> None:
    """0017 and 15 (the former in base 8)."""
    network = build_scenario(scenario_from_file(CODES / "net6.yaml")).network
    assert [sku.id for sku in network.skus] == ["0017", "15"]
    assert network.stocks[0].label == "0017@1000"


def test_numbers_are_read_where_a_type_says_so(tmp_path: Path) -> None:
    """Of parameters, whose types only policies know, what looks like one."""
    text = (
        (CODES / "net.yaml").read_text("utf-8")
        + """
horizon: 30
smoothing: 1e-1
identity: yes
policy_params: {base_stock: {level: {0017@NO: 3, SE: .5}, name: "NO"}}
timing: {unfilled: cancel}
preference: {low: 1, high: 2.5}
"""
    )
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    config = scenario_from_file(tmp_path / "mine.yaml")
    assert (config.horizon, config.smoothing, config.identity) == (30, 0.1, True)
    level = config.policy_params["base_stock"]["level"]
    assert level == {"0017@NO": 3, "SE": 0.5}
    assert config.preference == {"low": 1.0, "high": 2.5}
    (tmp_path / "mine.yaml").write_text(text.replace("1e-1", "1_0"), encoding="utf-8")
    with pytest.raises(ConfigError, match="smoothing is '1_0'; expected a finite number"):
        scenario_from_file(tmp_path / "mine.yaml")


BUILT: list[tuple[str, Any]] = [
    ("{a: 0017, 1: [on, ~, 'null', .5]}", {"a": "0017", "1": ["on", None, "null", ".5"]}),
    ("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}", {"a": {"b": "1"}, "c": {"b": "1"},
                                               "d": {"b": "1", "e": "2"}}),
    ("", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), BUILT)
def test_scalars_are_text(text: str, value: Any) -> None:
    """Anchors and merges work as in any YAML."""
    assert parse_yaml(text) == value


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = {
    "aliases of aliases": (BOMB, "more than 1000000 values"),
    "deep lists": ("a: " + "[" * 3000, "nested deeper than 40"),
    "deep mappings": ("{a: " * 3000, "nested deeper than 40"),
    "a key twice": ("a: 1\nb: 2\na: 3", "line 3: 'a' comes twice"),
    "no such anchor": ("a: *b", r"\*b is not defined|undefined alias"),
    "a list as a key": ("[a]: 1", "expected a name"),
    "an alias in itself": ("a: &a [*a]", "not defined"),
    "no YAML": ("a: {b", "line 2: no YAML|line 1: no YAML"),
    "a tab": ("a:\n\t- b", "no YAML"),
}


@pytest.mark.parametrize(("text", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_too_much_is_refused_in_one_line(text: str, told: str) -> None:
    """With the line, and without building it."""
    with pytest.raises(ConfigError, match=told) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)


def test_a_long_file_is_not_read(tmp_path: Path) -> None:
    """Nor is one that is no text, or missing."""
    long = tmp_path / "long.yaml"
    with long.open("wb") as file:
        file.truncate(9 * 2**20)
    with pytest.raises(ConfigError, match=r"long.yaml: has 9 MB; expected at most 8 MB"):
        read_yaml(long)
    (tmp_path / "latin.yaml").write_bytes("name: K\xf6ln".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin.yaml: can't be read as UTF-8"):
        read_yaml(tmp_path / "latin.yaml")
    with pytest.raises(ConfigError, match=r"none.yaml: can't be read"):
        read_yaml(tmp_path / "none.yaml")
