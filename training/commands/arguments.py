"""What a run was begun with, kept in its folder, so that `resume=FOLDER` can go on with it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from conf.arguments import leaves, parsed
from envs.errors import ConfigError, EchelonError
from envs.redact import redact_tree
from evaluation.files.atomic_folder import file_hash
from evaluation.files.storage import is_uri, open_storage
from training.job.fetched_run import RECORDS, fetch_run
from training.job.run_record import RECORD, RunRecord
from training.job.stored_run import run_uri

_NETWORK = "network"  # a folder with a copy of the network file, where there is one
_FETCHED = Path("outputs/fetched")  # runs that are resumed from a storage
_MOST_NAMED = 4  # differences in a message


def record_of(
    folder: Path,
    command: str,
    arguments: Sequence[str],
    resolved: Mapping[str, Any],
    may_differ: Sequence[str] | None,
) -> RunRecord:
    """Return what to keep of a run in `folder`, which this process owns; nothing is written yet.

    resolved: the configuration, by key.
    may_differ: keys, or groups of keys, that a resumed run may have other values of (None: all).
    Raises ConfigError where a run lives in the folder that isn't resumed, and where one is resumed
    with another configuration.
    """
    kept = redact_tree([a for a in arguments if not a.startswith(("resume=", "out="))])
    config = {key: json.dumps(value, default=str) for key, value in leaves(redact_tree(resolved))}
    network = network_of(arguments)
    storage = resolved.get("storage")
    record = RunRecord(
        command=command, arguments=kept, config=config,
        network=None if network is None else file_hash(network),
        storage=None if storage is None else open_storage(run_uri(storage, folder)).uri,
    )  # fmt: skip
    if _resumed(arguments) is None:
        for name in (RECORD, "config.yaml"):
            if (folder / name).exists():
                raise ConfigError(
                    f"out={folder} holds {name} of another run; expected one run per folder. Give "
                    f"resume={folder} to go on with it, or another folder."
                )
        return record
    before = RunRecord.read(folder, error=ConfigError)
    if may_differ is not None:
        _must_be_alike(folder, before.config, config, may_differ)
    if before.config.get("storage") == config.get("storage"):  # it may have come from elsewhere
        record = dataclasses.replace(record, storage=before.storage)
    return dataclasses.replace(record, run=before.run)


def keep_record(folder: Path, record: RunRecord) -> None:
    """Write the record; copy the network file."""
    record.write(folder)
    network = network_of(record.arguments)
    if network is not None and not (folder / _NETWORK).exists():
        (folder / _NETWORK).mkdir()
        shutil.copyfile(network, folder / _NETWORK / network.name)


def say_where(record: RunRecord, console: Console) -> None:
    """Print where the copy is, if one is kept, and how to go on with it."""
    if record.storage is not None:
        console.print(
            f"A copy is kept in {record.storage}: echelon {record.command} "
            f"resume={record.storage} goes on with it on any machine.",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def with_resumed(
    argv: list[str], command: str, expected: str, error: type[EchelonError]
) -> list[str]:
    """Put the arguments of the run to go on with in front; its folder is the folder again.

    A run that is resumed by its place in a storage is fetched first, into outputs/fetched.

    command: that must have begun it.
    expected: what `resume` should have been the folder of, with an example. Raises `error` where
    the arguments can't be read, or the network file has changed since.
    """
    folder = _resumed(argv)
    if folder is None:
        return argv
    for argument in argv:
        if argument.startswith("out=") or argument in ("-m", "--multirun"):
            raise error(
                f"resume={folder} and {argument} are both given; expected resume alone: one run "
                "goes on, in its folder."
            )
    if (uri := _place_of(folder, argv)) is not None:
        folder = str(_fetched(uri))
        argv = [f"resume={folder}" if a.startswith("resume=") else a for a in argv]
    try:
        record = RunRecord.read(Path(folder), error=error)
        if record.command != command:
            raise error(f"'{record.command or 'a sweep or a report'}' began it, not '{command}'.")
    except error as problem:
        raise error(f"resume={folder}: {problem} Expected the folder of {expected}.") from problem
    new = {a.split("=", 1)[0] for a in argv}
    old = [a for a in record.arguments if a.split("=", 1)[0] not in new]
    for argument in old:
        if "***" in argument:
            key = argument.split("=", 1)[0]
            raise error(
                f"resume={folder}: {key} had a password, which isn't kept; expected it again: give "
                f"{key}=..."
            )
    network = network_of([*old, *argv])
    if uri is not None and network is not None and not network.is_file():
        old += [f"network={path}" for path in (Path(folder) / _NETWORK).glob("*")]
        network = network_of([*old, *argv])
    if network is not None and record.network is not None:
        _must_be_as_it_was(Path(folder), network, record.network, error)
    return [*old, *argv, f"out={folder}"]


def _place_of(folder: str, arguments: Sequence[str]) -> str | None:
    """Where in a storage the run is; None for a folder of this machine."""
    is_copy = not (Path(folder) / RECORD).exists() and (Path(folder) / RECORDS).is_dir()
    if is_uri(folder) or is_copy:
        return folder
    storage = next((a.split("=", 1)[1] for a in arguments if a.startswith("storage=")), None)
    if storage is None or Path(folder).exists():
        return None
    return run_uri(storage, Path(folder))


def _fetched(uri: str) -> Path:
    """A new folder with the run."""
    name = uri.rstrip("/").rpartition("/")[2]
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    folder = next(path for each in names if not (path := _FETCHED / each).exists())
    fetch_run(uri, folder)
    return folder


def _resumed(arguments: Sequence[str]) -> str | None:
    return next((a.split("=", 1)[1] for a in arguments if a.startswith("resume=")), None)


def network_of(arguments: Sequence[str]) -> Path | None:
    """Return the network file among arguments, the last one; quoted or not."""
    typed = next((a for a in reversed(arguments) if a.startswith("network=")), "network=null")
    text = typed.partition("=")[2]
    read = parsed(f"key={text}")
    value = text if read is None else read.value()
    return None if value is None else Path(value if isinstance(value, str) else text)


def _must_be_as_it_was(folder: Path, network: Path, wanted: str, error: type[EchelonError]) -> None:
    """Refuse to go on with another network than the run began with."""
    if network.is_file() and file_hash(network) == wanted:
        return
    kept = [path for path in (folder / _NETWORK).glob("*") if file_hash(path) == wanted]
    way = f"Give network={kept[0]} to go on with the network of then" if kept else "Bring it back"
    raise error(
        f"resume={folder}: network={network} is gone, or not what it was when the run began. "
        f"{way}, or begin a new run with the new one."
    )


def _must_be_alike(
    folder: Path, before: Mapping[str, str], now: Mapping[str, str], may_differ: Sequence[str]
) -> None:
    nothing = "not there"
    differences = [
        f"{key} was {before.get(key, nothing)[:60]} and is {now.get(key, nothing)[:60]}"
        for key in dict.fromkeys([*now, *before])
        if before.get(key) != now.get(key)
        and not any(key == free or key.startswith(f"{free}.") for free in may_differ)
    ]
    if differences:
        more = len(differences) - _MOST_NAMED
        named = ", ".join(differences[:_MOST_NAMED]) + (f", and {more} more" if more > 0 else "")
        raise ConfigError(
            f"resume={folder}: {named}; expected the configuration that the run began with, but "
            f"for {', '.join(may_differ)}. Leave out what differs, or begin a new run."
        )
