"""The files of a report's folder: one per scenario and step, each written whole or not at all.

    <scenario>/classical.json   features, every classical policy tuned and played, the best rule
    <scenario>/bound.json       what no policy can beat, or why there is none
    <scenario>/seed_0.json ...  a training and its policy's results

A step whose file is there isn't done again: that is how a report is resumed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from envs.errors import ConfigError
from evaluation.files.sealed_json import read_sealed, write_sealed
from evaluation.optima.bound import Bound, BoundKind
from evaluation.value.measure import Played
from evaluation.value.verdict import Judgement, Prices, TrainedSeed, judge

BOUND = "bound.json"
Curve = tuple[tuple[float, ...], ...]  # points of (iteration, seconds, periods, validation cost)


@dataclass(frozen=True)
class PolicyRecord:
    """A tuned classical policy."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    evaluations: int = 0
    tuning_periods: float = 0.0
    tuning_cpu_seconds: float = 0.0
    validation_cost: float = 0.0  # currency per period, on the traces that choose the best rule
    played: Played | None = None
    why_not: str = ""  # the reason, where the policy can't be used on the network


@dataclass(frozen=True)
class ClassicalPart:
    """What classical.json holds.

    base_policy: what learning corrects: the best rule, or the scenario's own (start_from).
    """

    period_name: str
    currency: str
    features: Mapping[str, float]
    policies: tuple[PolicyRecord, ...]
    best_rule: str
    base_policy: str
    traces: int
    seed: int
    bound_traces: int
    start_date: str | None = None  # ISO date of calendar period 0
    by_date: bool = False  # whether anything depends on the date

    @property
    def best(self) -> PolicyRecord:
        """The best rule's record."""
        return next(p for p in self.policies if p.name == self.best_rule)

    @staticmethod
    def read(folder: Path) -> ClassicalPart | None:
        """Read classical.json of a scenario's folder; None where there is none yet.

        Raises ConfigError where it can't be read, or another version wrote it.
        """
        return _read(folder / "classical.json", _classical)


@dataclass(frozen=True, eq=False)
class Entry:
    """One line of the report: as much as there is of a scenario so far. error: what stopped it."""

    label: str
    classical: ClassicalPart | None = None
    seeds: tuple[TrainedSeed, ...] = ()
    curves: tuple[Curve, ...] = ()
    bound: Bound | None = None
    no_bound: str = ""
    judgement: Judgement | None = None
    error: str = ""


def folder_name(label: str) -> str:
    """Return a scenario's folder: its label, letters and digits kept."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", label).strip("_")


def write_part(path: Path, part: Mapping[str, Any]) -> None:
    """Write plain data, whole or not at all, sealed. Refuses NaN: one here is a bug."""
    write_sealed(path, part)


def read_part(path: Path) -> dict[str, Any] | None:
    """Return what `write_part` wrote; None where there is nothing. Raises ConfigError."""
    if not path.exists():
        return None
    try:
        return read_sealed(path, error=ConfigError)
    except ConfigError as error:
        raise ConfigError(f"{error} Remove it, then resume.") from error


T = TypeVar("T")


def _read(path: Path, make: Callable[[dict[str, Any]], T]) -> T | None:
    """Make what a file holds, None where there is no file. Raises ConfigError."""
    plain = read_part(path)
    try:
        return None if plain is None else make(plain)
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigError(
            f"'{path}' is of another version of Echelon ({type(error).__name__}: {error}); got the "
            f"keys {', '.join(plain or ())}; expected those that this version writes. Remove the "
            f"folder '{path.parent}' to have the scenario done again, or begin a new report."
        ) from error


def load_entry(folder: Path, label: str, seeds: int, prices: Prices, error: str = "") -> Entry:
    """Read a scenario's files and judge it, if they are all there but the bound."""
    classical = ClassicalPart.read(folder)
    if classical is None:
        return Entry(label, error=error)
    parts = [_read(folder / f"seed_{i}.json", _seed) for i in range(seeds)]
    found = [part for part in parts if part is not None]
    trained, curves = tuple(seed for seed, _ in found), tuple(curve for _, curve in found)
    bound, no_bound = _read(folder / BOUND, _bound) or (None, "not computed")
    judgement = None
    played = classical.best.played
    if len(found) == seeds and seeds > 0 and played is not None:
        judgement = judge(
            played,
            trained,
            bound,
            bound_traces=classical.bound_traces,
            period_name=classical.period_name,
            prices=prices,
        )
    return Entry(label, classical, trained, curves, bound, no_bound, judgement, error)


def _classical(part: dict[str, Any]) -> ClassicalPart:
    policies = tuple(
        PolicyRecord(**{**p, "played": None if p["played"] is None else Played(**p["played"])})
        for p in part["policies"]
    )
    return ClassicalPart(**{**part, "policies": policies})


def _seed(part: dict[str, Any]) -> tuple[TrainedSeed, Curve]:
    own = {key: value for key, value in part.items() if key != "curve"}
    curve = tuple(tuple(point) for point in part["curve"])
    return TrainedSeed(**{**own, "played": Played(**part["played"])}), curve


def _bound(part: dict[str, Any]) -> tuple[Bound | None, str]:
    if part["bound"] is None:
        return None, str(part["why_not"])
    return Bound(**{**part["bound"], "kind": BoundKind(part["bound"]["kind"])}), ""


def plain_bound(bound: Bound | None, why_not: str = "") -> dict[str, Any]:
    """Return what bound.json holds."""
    return {"bound": None if bound is None else asdict(bound), "why_not": why_not}
