"""A case from the literature, and what comparing with it gives."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from envs.errors import DataError
from envs.json_text import parse_json
from envs.network.demand import DemandConfig


class NotRunnable(Exception):
    """The case needs something that this project doesn't have; the message says what."""


@dataclass(frozen=True)
class Case:
    """An instance and what its source says of it."""

    id: str
    family: str
    params: Mapping[str, Any]  # the instance
    optimal: float | None  # cost of the best policy; None: unknown
    heuristics: Mapping[str, Any]  # other policies' costs and parameters
    tolerance: float | None  # absolute, of the optimum
    source: str = ""

    def number(self, name: str, default: float | None = None) -> float:
        """Return a number of the instance. Raises DataError where it is missing or none."""
        value = self.params.get(name, default)
        if not _is_number(value):
            raise self._wrong(name, value, "a number")
        return float(value)

    def numbers(self, name: str, count: int | None = None) -> list[float]:
        """Return a list of numbers of the instance. Raises DataError for anything else."""
        value = self.params.get(name)
        if not isinstance(value, list) or not all(map(_is_number, value)):
            raise self._wrong(name, value, "a list of numbers")
        if count is not None and len(value) != count:
            raise self._wrong(name, value, f"{count} numbers")
        return [float(number) for number in value]

    def judged(self, name: str) -> bool:
        """Whether a heuristic's number is to be judged: the case notes how it was verified."""
        entry = self.heuristics[name]
        return not isinstance(entry, Mapping) or bool(entry.get("verified", True))

    def whole(self, name: str) -> int:
        """Return a whole number of the instance. Raises DataError for any other."""
        value = self.number(name)
        if value != round(value):
            raise self._wrong(name, value, "a whole number")
        return round(value)

    def _wrong(self, name: str, value: Any, expected: str) -> DataError:
        return DataError(
            f"case '{self.id}': params.{name} is {value!r}; expected {expected}. Set '{name}' in "
            f"'params' of that case in the cases file; given are {', '.join(self.params)}. "
            f"See family '{self.family}' in evaluation/verify/cases.json."
        )

    def row(
        self, quantity: str, expected: float | None, got: float, began: float,
        tolerance: float | None = None,
    ) -> Row:  # fmt: skip
        """Compare a number. began: `time.perf_counter()` when its computation began."""
        seconds = time.perf_counter() - began
        return Row(self.id, self.family, quantity, expected, got, tolerance, seconds)

    def optimum(self, got: float, began: float) -> Row:
        """Compare the optimum."""
        return self.row("optimum", self.optimal, got, began, self.tolerance)


@dataclass(frozen=True)
class Row:
    """One number compared."""

    case: str
    family: str
    quantity: str
    expected: float | None = None
    got: float | None = None
    tolerance: float | None = None  # absolute; None: shown, not judged
    seconds: float = 0.0
    note: str = ""  # why not run, or what broke where `failed`
    failed: bool = False

    @property
    def verdict(self) -> str:
        """agrees, differs, shown (not judged), not run, or failed."""
        if self.failed:
            return "failed"
        if self.got is None:
            return "not run"
        if self.expected is None or self.tolerance is None:
            return "shown"
        return "agrees" if abs(self.got - self.expected) <= self.tolerance else "differs"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def load_cases(path: Path | None = None) -> list[Case]:
    """Read a file of cases; None: those that Echelon ships. Raises DataError naming the entry."""
    if path is None:
        text = resources.files("evaluation.verify").joinpath("cases.json").read_text("utf-8")
    else:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"cases={path}: can't be read ({error}); expected a JSON file."
            ) from None
    where = "cases.json" if path is None else f"cases={path}"
    try:
        entries = parse_json(text)
    except ValueError as error:
        raise DataError(f"{where}: no JSON ({error}); expected a list of cases.") from None
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{where}: expected a list of cases, one at least.")
    cases = [_case(where, i, entry) for i, entry in enumerate(entries)]
    known: set[str] = set()
    for case in cases:
        if case.id in known:
            raise DataError(f"{where}: id '{case.id}' comes twice; expected each once.")
        known.add(case.id)
    return cases


def _case(where: str, place: int, entry: Any) -> Case:
    kinds: dict[str, tuple[type, ...]] = {
        "id": (str,), "family": (str,), "params": (dict,), "heuristics": (dict,),
        "optimal": (int, float, type(None)), "tolerance": (int, float, type(None)),
        "source": (str,),
    }  # fmt: skip
    defaults: dict[str, Any] = {"heuristics": {}, "optimal": None, "tolerance": None, "source": ""}
    if not isinstance(entry, dict):
        raise DataError(f"{where}: entry {place} is {entry!r:.60}; expected a mapping.")
    values: dict[str, Any] = {}
    for name, kind in kinds.items():
        value = entry.get(name, defaults.get(name))
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DataError(
                f"{where}: entry {place} ('{entry.get('id', '')}'): {name} is {value!r:.60}; "
                f"expected {' or '.join(k.__name__ for k in kind)}."
            )
        values[name] = value
    return Case(**values)


_RANGE = re.compile(r"(?:u|uniform)[\[{(]?\s*([0-9]+)\s*(?:\.\.|-|,)\s*([0-9]+)\s*[\]})]?")
_NUMBER = r"([0-9]*\.?[0-9]+)"
_CALL = re.compile(rf"(poisson|normal|n|p|geometric)\(?\s*{_NUMBER}(?:\s*,\s*{_NUMBER})?\s*\)?")


def demand_of(text: Any, mean: float | None = None) -> DemandConfig:
    """Read a distribution: poisson, geometric (with `mean`), Poisson(5), U{0..4}, Normal(5,1),
    and round(...) of one of them: in whole units.

    Raises NotRunnable for any other.
    """
    name = str(text).strip().lower()
    if name.startswith("round(") and name.endswith(")"):
        return replace(demand_of(name[6:-1], mean), whole_units=True)
    if name in ("poisson", "geometric") and mean is not None:
        return DemandConfig(name, mean=mean)
    if (found := _RANGE.fullmatch(name)) is not None:
        return DemandConfig("uniform", low=float(found[1]), high=float(found[2]))
    if (found := _CALL.fullmatch(name)) is not None:
        kind, first, second = found[1], float(found[2]), found[3]
        if kind in ("poisson", "p", "geometric") and second is None:
            return DemandConfig("geometric" if kind == "geometric" else "poisson", mean=first)
        if kind in ("normal", "n") and second is not None:
            return DemandConfig(
                "normal", mean=first, standard_deviation=float(second), whole_units=False
            )
    raise NotRunnable(f"demand '{text}' is none of poisson, geometric, U{{a..b}}, Normal(m,s)")
