"""A small JSON file under its own SHA-256: any other byte in it is found when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.errors import EchelonError
from envs.json_text import read_json
from evaluation.files.atomic_folder import write_file

_SEAL = "sha256"


def write_sealed(path: Path, plain: Mapping[str, Any]) -> None:
    """Write it whole or not at all; on the disk when this returns."""
    write_file(path, _sealed(plain))


def read_sealed(path: Path, *, error: type[EchelonError] = EchelonError) -> dict[str, Any]:
    """Return what `write_sealed` wrote. Raises `error` where the file is gone, or is not that."""
    try:
        plain = read_json(path)
        if not isinstance(plain, dict) or plain.pop(_SEAL, None) is None:
            raise ValueError("it has no seal: changed by hand, or of an earlier version of Echelon")
        if path.read_bytes() != _sealed(plain):
            raise ValueError("its SHA-256 is another: damaged, or changed by hand")
    except (OSError, ValueError) as problem:
        raise error(f"can't read '{path}' ({problem}).") from problem
    return plain


def _sealed(plain: Mapping[str, Any]) -> bytes:
    content = json.dumps(plain, sort_keys=True, allow_nan=False).encode()
    seal = hashlib.sha256(content).hexdigest()
    return json.dumps({_SEAL: seal, **plain}, indent=1, allow_nan=False).encode() + b"\n"
