"""JSON as others may have written it: bounded, and without what JSON doesn't have."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

_MOST_BYTES = 256 * 2**20  # of a file


def read_json(path: Path) -> Any:
    """Return what a file holds. Raises OSError, and ValueError as `parse_json` does."""
    return parse_json(read_bounded(path))


def read_bounded(path: Path) -> bytes:
    """Return a file's bytes. Raises OSError, and ValueError where there are too many."""
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ValueError(f"it has {size >> 20} MB, expected at most {_MOST_BYTES >> 20}")
    return path.read_bytes()


def parse_json(text: str | bytes) -> Any:
    """Return mappings, lists, texts and finite numbers.

    Raises ValueError for what is no JSON, nested too deep, a key that comes twice, NaN, infinity
    and numbers beyond the largest.
    """
    try:
        return json.loads(
            text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique
        )
    except RecursionError:
        raise ValueError("values are nested too deep") from None


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:60]!r} comes twice")
    return mapping
