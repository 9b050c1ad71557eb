"""Small JSON under its own SHA-256, a file or a line: any other byte is found when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.errors import EchelonError
from envs.json_text import parse_json, read_bounded
from evaluation.files.atomic_folder import write_file

_SEAL = "sha256"


def sealed(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return it with its seal."""
    content = json.dumps(plain, sort_keys=True, allow_nan=False).encode()
    return {_SEAL: hashlib.sha256(content).hexdigest(), **plain}


def unsealed(record: Any) -> dict[str, Any]:
    """Return what `sealed` was given. Raises ValueError where this is something else."""
    if not isinstance(record, dict) or _SEAL not in record:
        raise ValueError("it has no seal: changed by hand, or of an earlier version of Echelon")
    plain = {key: value for key, value in record.items() if key != _SEAL}
    if record != sealed(plain):
        raise ValueError("its SHA-256 is another: damaged, or changed by hand")
    return plain


def sealed_bytes(plain: Mapping[str, Any]) -> bytes:
    """Return the content of a sealed file."""
    return json.dumps(sealed(plain), indent=1, allow_nan=False).encode() + b"\n"


def parse_sealed(content: bytes) -> dict[str, Any]:
    """Return what `sealed_bytes` was given. Raises ValueError where this is something else."""
    plain = unsealed(parse_json(content))
    if content != sealed_bytes(plain):
        raise ValueError("its bytes are others: damaged, or changed by hand")
    return plain


def write_sealed(path: Path, plain: Mapping[str, Any]) -> None:
    """Write it whole or not at all; on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, sealed_bytes(plain))


def read_sealed(path: Path, *, error: type[EchelonError] = EchelonError) -> dict[str, Any]:
    """Return what `write_sealed` wrote. Raises `error` where the file is gone, or is not that."""
    try:
        return parse_sealed(read_bounded(path))
    except (OSError, ValueError) as problem:
        raise error(f"can't read '{path}' ({problem}).") from problem
