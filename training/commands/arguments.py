"""The arguments of a run, kept in its folder, so that `resume=FOLDER` can go on with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from conf.arguments import parsed
from envs.errors import EchelonError
from envs.json_text import read_json
from envs.redact import redact_tree

_ARGUMENTS = "arguments.json"
_NETWORK = "network"  # a folder with a copy of the network file, where there is one


def keep_arguments(folder: Path, arguments: Sequence[str]) -> None:
    """Write the arguments, but for the folders, and without credentials; copy the network file."""
    kept = redact_tree([a for a in arguments if not a.startswith(("resume=", "out="))])
    (folder / _ARGUMENTS).write_text(json.dumps(kept), encoding="utf-8")
    network = _network_of(arguments)
    if network is not None and not (folder / _NETWORK).exists():
        (folder / _NETWORK).mkdir()
        shutil.copyfile(network, folder / _NETWORK / network.name)


def with_resumed(argv: list[str], expected: str, error: type[EchelonError]) -> list[str]:
    """Put the arguments of the run to go on with in front; its folder is the folder again.

    expected: what `resume` should have been the folder of, with an example. Raises `error` where
    the arguments can't be read, or the network file has changed since.
    """
    folder = next((a.split("=", 1)[1] for a in argv if a.startswith("resume=")), None)
    if folder is None:
        return argv
    path = Path(folder) / _ARGUMENTS
    try:
        saved = read_json(path)
        if not isinstance(saved, list) or not all(isinstance(a, str) for a in saved):
            raise ValueError("it is no list of texts")
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
    _must_be_as_it_was(folder, _network_of([*old, *argv]), error)
    return [*old, *argv, f"out={folder}"]


def _network_of(arguments: Sequence[str]) -> Path | None:
    """The network file among arguments, the last one; quoted or not."""
    typed = next((a for a in reversed(arguments) if a.startswith("network=")), "network=null")
    text = typed.partition("=")[2]
    read = parsed(f"key={text}")
    value = text if read is None else read.value()
    return None if value is None else Path(value if isinstance(value, str) else text)


def _must_be_as_it_was(folder: str, network: Path | None, error: type[EchelonError]) -> None:
    """Refuse to go on with another network than the run began with."""
    for kept in (Path(folder) / _NETWORK).glob("*") if network is not None else ():
        assert network is not None
        if not network.is_file() or network.read_bytes() != kept.read_bytes():
            raise error(
                f"resume={folder}: network={network} is gone, or not what it was when the run "
                f"began. Give network={kept} to go on with the network of then, or begin a new run "
                "with the new one."
            )
