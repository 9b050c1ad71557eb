"""A scenario as plain JSON values, and back: what serving needs to rebuild the simulator.

The network's dataclasses are written field by field, by their type hints, so that a new field
needs no code here. Demand histories stay at home: replayed demand comes back as zeros over the same
calendar, with its mean, spread and known multipliers. Reading is strict: a missing, unknown or
mistyped field is an ArtifactError that names its path.
"""

from __future__ import annotations

import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.errors import ArtifactError, EchelonError, NetworkError
from envs.network import demand as processes
from envs.network.demand import Demand
from envs.network.network import SupplyNetwork
from envs.observation.companions import CompanionsOf
from envs.reward import Preference
from envs.scenario import Scenario
from envs.simulation.action_spaces import ActionSpace

__all__ = ["network_hash", "plain_hash", "scenario_from_plain", "scenario_to_plain"]

_FORMAT = 4
_NUMBERS: dict[str, type[Any]] = {  # of a scenario, beside its network
    "name": str,
    "horizon": int,
    "warm_up": int,
    "base_policy": str,
    "smoothing": float,
    "memory": int,
    "period_name": str,
    "currency": str,
    "action_space": ActionSpace,
}
_OTHERS: dict[str, Any] = {
    "calendar_start": str | None,
    "extra_heads": tuple[str, ...],
    "preference": Preference | None,
}
_WHERE_USED: dict[str, Any] = {  # left out where it is the Scenario's default
    "companions": int,
    "companions_of": CompanionsOf,
    "identity": bool,
    "action_scale": float,
}
_PROCESSES: dict[str, type[Any]] = {
    "poisson": processes.Poisson,
    "geometric": processes.Geometric,
    "negative_binomial": processes.NegativeBinomial,
    "normal": processes.Normal,
    "uniform": processes.Uniform,
    "compound": processes.Compound,
}
_DEMAND = ("mean", "standard_deviation", "correlation", "multiplier", "process", "history_length")


def scenario_to_plain(scenario: Scenario) -> dict[str, Any]:
    """Return the scenario as dicts, lists, text and finite numbers; an unlimited limit is None."""
    return {
        "format_version": _FORMAT,
        **{name: _write(hint, getattr(scenario, name)) for name, hint in _NUMBERS.items()},
        **{name: _write(hint, getattr(scenario, name)) for name, hint in _OTHERS.items()},
        **{
            name: _write(hint, getattr(scenario, name))
            for name, hint in _WHERE_USED.items()
            if getattr(scenario, name) != getattr(Scenario, name)
        },
        "policy_params": _plain_tree(scenario.policy_params, "policy_params"),
        "network": _write(SupplyNetwork, scenario.network),
    }


def scenario_from_plain(plain: Any) -> Scenario:
    """Rebuild the scenario. Raises ArtifactError for a wrong shape, NetworkError for a network
    that contradicts itself."""
    entry = _mapping(plain, "network.json")
    used = _WHERE_USED.keys() & entry.keys()
    _keys(
        entry,
        {"format_version", *_NUMBERS, *_OTHERS, *used, "policy_params", "network"},
        "network.json",
    )
    if entry["format_version"] != _FORMAT:
        raise ArtifactError(
            f"network.json: format_version is {entry['format_version']!r}; expected {_FORMAT}. "
            "Export the policy again, or use the Echelon that wrote it."
        )
    try:
        return Scenario(
            network=_read(SupplyNetwork, entry["network"], "network"),
            policy_params=_policy_params(entry["policy_params"]),
            **{name: _read(hint, entry[name], name) for name, hint in _OTHERS.items()},
            **{name: _read(_WHERE_USED[name], entry[name], name) for name in used},
            **{name: _read(hint, entry[name], name) for name, hint in _NUMBERS.items()},
        )
    except (ArtifactError, NetworkError):
        raise
    except EchelonError as error:
        raise ArtifactError(f"network.json: {error} Export the policy again.") from error


def network_hash(scenario: Scenario) -> str:
    """SHA-256 (hex) of the scenario's canonical JSON: equal hashes mean equal networks."""
    return plain_hash(scenario_to_plain(scenario))


def plain_hash(plain: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of plain values: sorted keys, no spaces, UTF-8."""
    text = json.dumps(
        plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _write(hint: Any, value: Any) -> Any:
    """The inverse of `_read`: what the type hint says, as a plain value; infinity is None."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin in (typing.Union, types.UnionType):  # X | None
        return _write(_not_none(arguments), value)
    if origin is tuple:
        return [_write(arguments[0], item) for item in value]
    if hint is Demand:
        return _write_demand(value)
    if is_dataclass(hint):
        assert isinstance(hint, type)
        hints = typing.get_type_hints(hint)
        return {f.name: _write(hints[f.name], getattr(value, f.name)) for f in fields(hint)}
    if hint is float:
        return None if value == float("inf") else float(value)
    if hint in (int, bool):
        return hint(value)
    return str(value)


def _write_demand(demand: Demand) -> dict[str, Any]:
    process = None
    if demand.process is not None:
        names = {cls: name for name, cls in _PROCESSES.items()}
        if type(demand.process) not in names:
            raise ArtifactError(
                f"demand process {type(demand.process).__name__} can't be exported; expected one "
                f"of: {', '.join(_PROCESSES)}. Add it to evaluation/artifact/network_io.py."
            )
        kind = type(demand.process)
        process = {"name": names[kind], **_write(kind, demand.process)}
    multiplier = demand.multiplier
    return {
        "mean": float(demand.mean),
        "standard_deviation": float(demand.standard_deviation),
        "correlation": float(demand.correlation),
        "multiplier": None if multiplier is None else [float(m) for m in multiplier],
        "process": process,
        "history_length": None if demand.history is None else int(demand.history.size),
    }


def _plain_tree(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain_tree(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain_tree(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating) and np.isfinite(value):
        return float(value)
    raise ArtifactError(f"{where} is {value!r}; expected text or a finite number to export.")


def _read(hint: Any, value: Any, where: str) -> Any:
    """Plain value -> what the type hint asks for. Raises ArtifactError naming `where`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):  # X | None
        if value is None:
            return None
        return _read(_not_none(arguments), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(where, value, "a list")
        return tuple(_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if hint is Demand:
        return _read_demand(value, where)
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return _read_dataclass(hint, value, where)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value not in [member.value for member in hint]:
            raise _wrong(where, value, " | ".join(hint))
        return hint(value)
    if hint is float:
        return _read_number(value, where)
    if type(value) is not hint:
        raise _wrong(where, value, {int: "a whole number", str: "text"}.get(hint, str(hint)))
    return value


def _read_dataclass(cls: type[Any], value: Any, where: str) -> Any:
    entry = _mapping(value, where)
    hints = typing.get_type_hints(cls)
    _keys(entry, {field.name for field in fields(cls)}, where)
    values = {}
    for field in fields(cls):
        item, path = entry[field.name], f"{where}.{field.name}"
        if item is None and field.default == float("inf") and hints[field.name] is float:
            values[field.name] = float("inf")
        else:
            values[field.name] = _read(hints[field.name], item, path)
    return cls(**values)


def _read_demand(value: Any, where: str) -> Demand:
    entry = _mapping(value, where)
    _keys(entry, set(_DEMAND), where)
    process = multiplier = history = None
    if entry["process"] is not None:
        numbers = _mapping(entry["process"], f"{where}.process")
        name = numbers.get("name")
        if not isinstance(name, str) or name not in _PROCESSES:
            raise _wrong(f"{where}.process.name", name, " | ".join(_PROCESSES))
        rest = {key: item for key, item in numbers.items() if key != "name"}
        process = _read_dataclass(_PROCESSES[name], rest, f"{where}.process")
    if entry["multiplier"] is not None:
        multiplier = _read_numbers(entry["multiplier"], f"{where}.multiplier")
    if entry["history_length"] is not None:
        length = _read(int, entry["history_length"], f"{where}.history_length")
        if not 1 <= length <= 1_000_000:
            raise _wrong(f"{where}.history_length", length, "1 to 1000000 periods")
        history = np.zeros(length)
    mean, standard_deviation, correlation = (
        _read_number(entry[name], f"{where}.{name}")
        for name in ("mean", "standard_deviation", "correlation")
    )
    return Demand(mean, standard_deviation, process, history, multiplier, correlation)


def _policy_params(value: Any) -> dict[str, dict[str, Any]]:
    entry = _mapping(value, "policy_params")
    return {
        policy: dict(_mapping(parameters, f"policy_params.{policy}"))
        for policy, parameters in entry.items()
    }


def _read_number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise _wrong(where, value, "a finite number")
    return float(value)


def _read_numbers(value: Any, where: str) -> NDArray[np.float64]:
    """Long lists of numbers: no path is spelled out unless one is wrong."""
    if not isinstance(value, list):
        raise _wrong(where, value, "a list of numbers")
    for i, item in enumerate(value):
        if type(item) is not float and type(item) is not int:
            raise _wrong(f"{where}[{i}]", item, "a finite number")
    return np.array(value, float)  # Demand refuses what is not finite


def _not_none(arguments: tuple[Any, ...]) -> Any:
    [wanted] = [argument for argument in arguments if argument is not type(None)]
    return wanted


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(where, value, "an object")
    return value


def _keys(entry: Mapping[str, Any], wanted: set[str], where: str) -> None:
    for name in sorted(wanted ^ set(entry)):
        state = "is missing" if name in wanted else "is unknown"
        raise ArtifactError(
            f"network.json: '{name}' {state} in {where}; expected exactly: "
            f"{', '.join(sorted(wanted))}. Export the policy again."
        )


def _wrong(where: str, value: Any, wanted: str) -> ArtifactError:
    text = repr(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return ArtifactError(
        f"network.json: {where} is {text}; expected {wanted}. Export the policy again."
    )
