"""The arguments of a run, kept in its folder, so that `resume=FOLDER` can go on with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from envs.errors import EchelonError
from envs.redact import redact_tree

_ARGUMENTS = "arguments.json"


def keep_arguments(folder: Path, arguments: Sequence[str]) -> None:
    """Write the arguments, but for the folders, and without credentials."""
    kept = redact_tree([a for a in arguments if not a.startswith(("resume=", "out="))])
    (folder / _ARGUMENTS).write_text(json.dumps(kept), encoding="utf-8")


def with_resumed(argv: list[str], expected: str, error: type[EchelonError]) -> list[str]:
    """Put the arguments of the run to go on with in front; its folder is the folder again.

    expected: what `resume` should have been the folder of, with an example. Raises `error` where
    the arguments can't be read.
    """
    folder = next((a.split("=", 1)[1] for a in argv if a.startswith("resume=")), None)
    if folder is None:
        return argv
    path = Path(folder) / _ARGUMENTS
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise error(
            f"resume={folder}: can't read '{path}' ({problem}); expected the folder of {expected}."
        ) from problem
    new = {a.split("=", 1)[0] for a in argv}
    old = [a for a in saved if a.split("=", 1)[0] not in new]
    for argument in old:
        if "***" in argument:
            key = argument.split("=", 1)[0]
            raise error(
                f"resume={folder}: {key} had a password, which isn't kept; expected it again: give "
                f"{key}=..."
            )
    return [*old, *argv, f"out={folder}"]
