"""What values of a configuration can be, whatever the command."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envs.errors import ConfigError, shown
from envs.network.checks import LONGEST_RUN

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_LARGEST = 2**63 - 1  # of whole numbers
_MANY = (1, 1_000_000)
_RANGES = {  # by the last part of a key
    "seed": (0, _LARGEST),
    "periods": (1, LONGEST_RUN),
    "workers": (1, 10_000),
    **dict.fromkeys(("traces", "bound_traces", "trials", "hidden"), _MANY),
}


def must_be_literal(values: Any, where: str) -> None:
    """Refuse interpolations such as `${oc.env:PASSWORD}`: what they stand for would be stored."""
    for key, value in _single_values(values, where):
        if isinstance(value, str) and "${" in value:
            raise ConfigError(
                f"{key} has a '${{'; expected a value as it is: nothing is filled in."
            )


def must_be_in_range(values: Any) -> None:
    """Refuse NaN, and what no generator or memory can take."""
    for key, value in _single_values(values, ""):
        least, most = _RANGES.get(key.rpartition(".")[2], (-_LARGEST, _LARGEST))
        if isinstance(value, float) and math.isnan(value):
            raise ConfigError(f"{key} is NaN; expected a number.")
        if isinstance(value, int) and not least <= value <= most:
            raise ConfigError(f"{key} is {value}; expected a whole number from {least} to {most}.")


def writable(out: str) -> Path:
    """Refuse a folder that can't be made or written, before anything is done that takes long."""
    if scheme := _SCHEME.match(out):
        raise ConfigError(
            f"out is {shown(out)}; expected a folder of this machine: '{scheme[1]}:' isn't known. "
            "Give a path, such as outputs/mine; storage=s3://bucket/prefix keeps a copy elsewhere."
        )
    folder = Path(out)
    try:
        is_valid = "\0" not in out
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        is_valid &= there.is_dir() and os.access(there, os.W_OK)
    except OSError:  # too long
        is_valid = False
    if not is_valid:
        raise ConfigError(f"out is {shown(out)}; expected a folder that can be made and written.")
    return folder


def _single_values(values: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of all that is no mapping or list; items of a list have its key."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _single_values(value, f"{where}.{key}" if where else str(key))
    elif isinstance(values, list):
        for value in values:
            yield from _single_values(value, where)
    else:
        yield where, values
