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
from dataclasses import replace
from typing import Any

from envs.errors import ArtifactError, EchelonError, NetworkError
from envs.network.demand import Demand
from envs.network.plain import to_plain
from envs.network.stored import FORMAT, READER, START_DATE, write_demand
from envs.scenario import Scenario

_NOT_STORED: dict[str, Any] = {  # of a scenario: its data, and how it was made
    "splits": None,
    "bootstrap_length": None,
    "config": {},
    "data_hash": None,
    "stress_of": "",
}


def scenario_to_plain(scenario: Scenario) -> dict[str, Any]:
    """Return the scenario as dicts, lists, text and finite numbers; an unlimited limit is None."""
    plain = to_plain(Scenario, replace(scenario, **_NOT_STORED), {Demand: write_demand})
    stored = {name: value for name, value in plain.items() if name not in _NOT_STORED}
    stored[START_DATE] = stored.pop("start_date")
    return {"format_version": FORMAT, **stored}


def scenario_from_plain(plain: Any) -> Scenario:
    """Rebuild the scenario. Raises ArtifactError for a wrong shape, NetworkError for a network
    that contradicts itself."""
    if not isinstance(plain, Mapping) or plain.get("format_version") != FORMAT:
        got = plain.get("format_version") if isinstance(plain, Mapping) else plain
        raise ArtifactError(
            f"network.json: format_version is {got!r}; expected {FORMAT}. Export the policy "
            "again, or use the Echelon that wrote it."
        )
    stored = {name: value for name, value in plain.items() if name != "format_version"}
    if START_DATE in stored:
        stored["start_date"] = stored.pop(START_DATE)
    try:
        scenario: Scenario = READER.part(Scenario, stored, "", _NOT_STORED)
    except NetworkError:
        raise
    except EchelonError as error:
        raise ArtifactError(f"network.json: {error} Export the policy again.") from error
    return scenario


def same_network(one: Scenario, other: Scenario) -> bool:
    """Return whether two scenarios differ in nothing that is physical: all but how long episodes
    are, what agents see and which base policy they correct."""
    return physical_hash(one) == physical_hash(other)


def physical_hash(scenario: Scenario) -> str:
    """SHA-256 (hex) of what is physical: see `same_network`."""
    return plain_hash(scenario_to_plain(scenario)["network"])


def network_hash(scenario: Scenario) -> str:
    """SHA-256 (hex) of the scenario's canonical JSON: equal hashes mean equal networks."""
    return plain_hash(scenario_to_plain(scenario))


def plain_hash(plain: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of plain values: sorted keys, no spaces, UTF-8."""
    text = json.dumps(
        plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )
    return hashlib.sha256(text.encode()).hexdigest()
