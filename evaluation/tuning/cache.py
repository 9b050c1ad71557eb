"""What has been searched once is not searched again: one small file per search."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import envs
from envs.errors import ConfigError, EchelonError
from envs.json_text import read_json
from evaluation.files.storage import Storage
from evaluation.tuning import search
from evaluation.tuning.search import Tuned


def digest(content: Any) -> str:
    """Return the SHA-256 of plain data, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def source_digest() -> str:
    """Return the SHA-256 of the simulator, its policies and the search, which results depend on."""
    assert envs.__file__ is not None
    home = Path(envs.__file__).parent
    files = [*sorted(home.rglob("*.py")), Path(search.__file__)]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def load_tuned(cache: Storage, key: str) -> Tuned | None:
    """Return the search of that key, or None where there is none that can be read."""
    try:
        plain = cache.read(f"{key}.json")
        if plain is None:
            return None
        width = math.inf if plain["half_width"] is None else plain["half_width"]
        history = [tuple(point) for point in plain["history"]]
        return Tuned(**{**plain, "history": history, "half_width": width})
    except (EchelonError, TypeError, KeyError):
        return None  # damaged or of another version: search again


def store_tuned(cache: Storage, key: str, tuned: Tuned) -> None:
    """Keep a search. Two processes may write the same one: each replaces the file in one step."""
    width = tuned.half_width if math.isfinite(tuned.half_width) else None  # of one trace
    cache.write(f"{key}.json", {**dataclasses.asdict(tuned), "half_width": width})


def read_policy_params(path: str | None, scenario: str) -> Mapping[str, Any]:
    """Return the parameters that `echelon tune` wrote: policy -> its parameters; none for None.

    Raises ConfigError where the file cannot be read or is of another scenario.
    """
    if path is None:
        return {}
    try:
        plain = read_json(Path(path))
        params, home = plain["policy_params"], plain["scenario"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"policy_params_from '{path}' can't be read ({type(error).__name__}: {error}); "
            "expected a tuned.json of `echelon tune`."
        ) from error
    if home != scenario or not isinstance(params, dict):
        raise ConfigError(
            f"policy_params_from '{path}' is of scenario '{home}', not '{scenario}'; run "
            f"echelon tune scenario={scenario}."
        )
    return params
