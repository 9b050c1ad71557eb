"""A network as an artifact stores it: what only its demand needs, beside the types' annotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs.network.checks import LONGEST_RUN
from envs.network.demand import PROCESSES, Demand, process_name
from envs.network.plain import ADDED, Reader, to_plain, wrong
from envs.network.season import Season

FORMAT = 4
START_DATE = "calendar_start"  # of a scenario, in files of before: hashes stay what they were


@dataclass(frozen=True)
class _StoredDemand:
    """`envs.network.demand.Demand` as it is stored. process: its name and its numbers."""

    mean: float
    standard_deviation: float
    correlation: float
    multiplier: tuple[float, ...] | None
    process: Mapping[str, Any] | None
    history_length: int | None
    season: Season | None = field(default=None, metadata=ADDED)


def write_demand(demand: Demand) -> dict[str, Any]:
    """Return the demand as plain values; of a history its length alone."""
    process, multiplier = demand.process, demand.multiplier
    stored = _StoredDemand(
        demand.mean,
        demand.standard_deviation,
        demand.correlation,
        None,
        None,
        None if demand.history is None else int(demand.history.size),
        demand.season,
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


def read_demand(value: Any, where: str) -> Demand:
    """Return the demand again; a history comes back as zeros. Raises ConfigError naming `where`."""
    stored: _StoredDemand = READER.part(_StoredDemand, value, where)
    process = history = None
    if stored.process is not None:
        name = stored.process.get("name")
        if name not in PROCESSES:
            raise wrong(f"{where}.process.name", name, " | ".join(PROCESSES))
        numbers = {key: item for key, item in stored.process.items() if key != "name"}
        process = READER.part(PROCESSES[name], numbers, f"{where}.process")
    if stored.history_length is not None:
        if not 1 <= stored.history_length <= LONGEST_RUN:
            wanted = f"1 to {LONGEST_RUN} periods"
            raise wrong(f"{where}.history_length", stored.history_length, wanted)
        history = np.zeros(stored.history_length)
    multiplier = None if stored.multiplier is None else np.array(stored.multiplier, float)
    return Demand(
        stored.mean, stored.standard_deviation, process, history, multiplier, stored.correlation,
        stored.season,
    )  # fmt: skip


READER = Reader(complete=True, forms={Demand: read_demand})
