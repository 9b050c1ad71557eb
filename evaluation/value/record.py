"""The files of a report's folder: one per scenario and step, each written whole or not at all.

    <scenario>/classical.json   features, every classical policy tuned and played, the best rule
    <scenario>/bound.json       what no policy can beat, or why there is none
    <scenario>/seed_0.json ...  a training and its policy's results

A step whose file is there isn't done again: that is how a report is resumed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from envs.errors import ConfigError
from evaluation.files.atomic_folder import write_file
from evaluation.optima.bound import Bound, BoundKind
from evaluation.value.measure import Played
from evaluation.value.verdict import Judgement, Prices, TrainedSeed, judge


@dataclass(frozen=True)
class PolicyRecord:
    """A tuned classical policy. validation_cost: currency per period, on the traces that choose the
    best rule. why_not: the reason, where the policy can't be used on the network."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    evaluations: int = 0
    tuning_periods: float = 0.0
    tuning_cpu_seconds: float = 0.0
    validation_cost: float = 0.0
    played: Played | None = None
    why_not: str = ""


@dataclass(frozen=True)
class ClassicalPart:
    """What classical.json holds. base_policy: what learning corrects; the best rule, unless it was
    asked to be the scenario's."""

    period_name: str
    currency: str
    features: Mapping[str, float]
    policies: tuple[PolicyRecord, ...]
    best_rule: str
    base_policy: str
    traces: int
    seed: int
    bound_traces: int

    @property
    def best(self) -> PolicyRecord:
        """The best rule's record."""
        return next(p for p in self.policies if p.name == self.best_rule)

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> ClassicalPart:
        """Read what `asdict` wrote."""
        policies = tuple(
            PolicyRecord(**{**p, "played": None if p["played"] is None else Played(**p["played"])})
            for p in plain["policies"]
        )
        return ClassicalPart(**{**plain, "policies": policies})


@dataclass(frozen=True, eq=False)
class Entry:
    """One line of the report: as much as there is of a scenario so far. error: what stopped it."""

    label: str
    classical: ClassicalPart | None = None
    seeds: tuple[TrainedSeed, ...] = ()
    curves: tuple[tuple[tuple[float, ...], ...], ...] = ()
    bound: Bound | None = None
    no_bound: str = ""
    judgement: Judgement | None = None
    error: str = ""


def folder_name(label: str) -> str:
    """Return a scenario's folder: its label, letters and digits kept."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", label).strip("_")


def write_part(path: Path, part: Mapping[str, Any]) -> None:
    """Write plain data as JSON, whole or not at all. Refuses NaN: one here is a bug."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(part, allow_nan=False) + "\n").encode())


def read_part(path: Path) -> dict[str, Any] | None:
    """Return what `write_part` wrote; None where there is nothing. Raises ConfigError."""
    if not path.exists():
        return None
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{path}' can't be read ({error}); remove it, then resume.") from error
    assert isinstance(plain, dict)
    return plain


def load_entry(folder: Path, label: str, seeds: int, prices: Prices, error: str = "") -> Entry:
    """Read a scenario's files and judge it, if they are all there but the bound."""
    plain = read_part(folder / "classical.json")
    if plain is None:
        return Entry(label, error=error)
    classical = ClassicalPart.from_plain(plain)
    parts = [read_part(folder / f"seed_{i}.json") for i in range(seeds)]
    found = [part for part in parts if part is not None]
    trained = tuple(_seed(part) for part in found)
    curves = tuple(tuple(tuple(point) for point in part["curve"]) for part in found)
    bound, no_bound = _bound(read_part(folder / "bound.json"))
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


def _seed(part: Mapping[str, Any]) -> TrainedSeed:
    own = {key: value for key, value in part.items() if key != "curve"}
    return TrainedSeed(**{**own, "played": Played(**part["played"])})


def _bound(part: Mapping[str, Any] | None) -> tuple[Bound | None, str]:
    if part is None:
        return None, "not computed"
    if part["bound"] is None:
        return None, str(part["why_not"])
    return Bound(**{**part["bound"], "kind": BoundKind(part["bound"]["kind"])}), ""


def plain_bound(bound: Bound | None, why_not: str = "") -> dict[str, Any]:
    """Return what bound.json holds."""
    return {"bound": None if bound is None else asdict(bound), "why_not": why_not}
