"""A scenario as plain JSON values, and back: what serving needs to rebuild the simulator.

Written and read by the types' annotations (`envs.network.plain`), so that a new field needs no
code here. Demand histories are not written: replayed demand comes back as zeros over the same
calendar, with its mean, spread and known multipliers. Reading is strict: a missing, unknown or
mistyped field is an ArtifactError that names its path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.errors import ArtifactError, EchelonError, NetworkError
from envs.network.demand import PROCESSES, Demand, process_name
from envs.network.plain import Reader, to_plain, wrong
from envs.scenario import Scenario

_FORMAT = 4
_NOT_STORED: dict[str, Any] = {  # of a scenario: its data, and how it was made
    "splits": None,
    "bootstrap_length": None,
    "config": {},
    "data_hash": None,
    "stress_of": "",
}
_START_DATE = "calendar_start"  # its name in files of before: hashes stay what they were
_MOST_PERIODS = 1_000_000


@dataclass(frozen=True)
class _StoredDemand:
    """`envs.network.demand.Demand` as it is stored. process: its name and its numbers."""

    mean: float
    standard_deviation: float
    correlation: float
    multiplier: tuple[float, ...] | None
    process: Mapping[str, Any] | None
    history_length: int | None


def scenario_to_plain(scenario: Scenario) -> dict[str, Any]:
    """Return the scenario as dicts, lists, text and finite numbers; an unlimited limit is None."""
    plain = to_plain(Scenario, replace(scenario, **_NOT_STORED), {Demand: _write_demand})
    stored = {name: value for name, value in plain.items() if name not in _NOT_STORED}
    stored[_START_DATE] = stored.pop("start_date")
    return {"format_version": _FORMAT, **stored}


def scenario_from_plain(plain: Any) -> Scenario:
    """Rebuild the scenario. Raises ArtifactError for a wrong shape, NetworkError for a network
    that contradicts itself."""
    if not isinstance(plain, Mapping) or plain.get("format_version") != _FORMAT:
        got = plain.get("format_version") if isinstance(plain, Mapping) else plain
        raise ArtifactError(
            f"network.json: format_version is {got!r}; expected {_FORMAT}. Export the policy "
            "again, or use the Echelon that wrote it."
        )
    stored = {name: value for name, value in plain.items() if name != "format_version"}
    if _START_DATE in stored:
        stored["start_date"] = stored.pop(_START_DATE)
    try:
        scenario: Scenario = _READER.part(Scenario, stored, "", _NOT_STORED)
    except NetworkError:
        raise
    except EchelonError as error:
        raise ArtifactError(f"network.json: {error} Export the policy again.") from error
    return scenario


def network_hash(scenario: Scenario) -> str:
    """SHA-256 (hex) of the scenario's canonical JSON: equal hashes mean equal networks."""
    return plain_hash(scenario_to_plain(scenario))


def plain_hash(plain: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of plain values: sorted keys, no spaces, UTF-8."""
    text = json.dumps(
        plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _write_demand(demand: Demand) -> dict[str, Any]:
    process, multiplier = demand.process, demand.multiplier
    stored = _StoredDemand(
        demand.mean,
        demand.standard_deviation,
        demand.correlation,
        None,
        None,
        None if demand.history is None else int(demand.history.size),
    )
    plain: dict[str, Any] = to_plain(_StoredDemand, stored, {})
    if multiplier is not None:
        plain["multiplier"] = [float(m) for m in multiplier]
    if process is not None:
        plain["process"] = {
            "name": process_name(process),
            **to_plain(type(process), process, {}),
        }
    return plain


def _read_demand(value: Any, where: str) -> Demand:
    stored: _StoredDemand = _READER.part(_StoredDemand, value, where)
    process = history = None
    if stored.process is not None:
        name = stored.process.get("name")
        if name not in PROCESSES:
            raise wrong(f"{where}.process.name", name, " | ".join(PROCESSES))
        numbers = {key: item for key, item in stored.process.items() if key != "name"}
        process = _READER.part(PROCESSES[name], numbers, f"{where}.process")
    if stored.history_length is not None:
        if not 1 <= stored.history_length <= _MOST_PERIODS:
            wanted = f"1 to {_MOST_PERIODS} periods"
            raise wrong(f"{where}.history_length", stored.history_length, wanted)
        history = np.zeros(stored.history_length)
    multiplier = None if stored.multiplier is None else np.array(stored.multiplier, float)
    return Demand(
        stored.mean, stored.standard_deviation, process, history, multiplier, stored.correlation
    )


_READER = Reader(complete=True, forms={Demand: _read_demand})
