"""`echelon submit COMMAND`: let a running Ray cluster do what a command does."""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from conf.compose import CommandConfig, compose, compose_runs
from echelon import COMMANDS
from envs.errors import ConfigError, did_you_mean, shown
from envs.redact import is_secret_name, redact
from evaluation.console import make_console
from evaluation.workers import prepare_ray
from training.commands.arguments import network_of

SENT = ("train", "tune", "sweep", "report", "recommend", "doctor")


@dataclass(frozen=True)
class SubmitCommand(CommandConfig):
    """`echelon submit`."""

    name: ClassVar = "submit"
    address: str | None
    detach: bool
    working_dir: str | None
    variables: list[str]


def submit(argv: list[str]) -> int:
    """Run the command; returns the exit code of the job, 0 at once with `detach`.

    Raises ConfigError for mistakes in what is sent, before it is, and ClusterError.
    """
    own, command, arguments = _parted(argv)
    options = compose(SubmitCommand, own).command
    words = checked_words([command, *arguments])
    variables = _values_of(options.variables)
    prepare_ray()
    from training.cluster import jobs  # Ray takes seconds to import

    console = make_console()
    client = jobs.connect(options.address)
    with tempfile.TemporaryDirectory(prefix="echelon_submit_") as scratch:
        words, folder = _with_network(words, options.working_dir, Path(scratch))
        entrypoint = shlex.join(["exec", "python", "-m", "echelon", *words])
        job = jobs.send(client, entrypoint, variables, folder)
    console.print(f"Job {job}.", highlight=False)
    return 0 if options.detach else jobs.follow(client, job, console)


def checked_words(words: Sequence[str], *, has_network: bool = True) -> list[str]:
    """Return a command and its arguments, such as train scenario=retail, as they came.

    has_network: the network file is here; else nothing that is said of it is checked.
    Raises ConfigError for what the command itself would refuse, or where Ray would keep a secret.
    """
    command, *arguments = [*words] or [""]
    if command not in SENT:
        raise ConfigError(
            f"{shown(command)} can't be sent to a cluster; expected the command first, as in "
            f"echelon submit train scenario=retail.{did_you_mean(command, SENT)}"
        )
    for argument in arguments:
        if redact(argument) != argument:
            raise ConfigError(
                f"{shown(argument)} has a password, which Ray would write into its logs; expected "
                "none: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD where the nodes "
                "of the cluster are started."
            )
    composed(words, has_network=has_network)
    return [command, *arguments]


def composed(words: Sequence[str], *, has_network: bool) -> list[Any]:
    """Return what a command's arguments say, as objects; several with -m. Raises ConfigError."""
    command, *arguments = words
    entry = COMMANDS[command]
    schema = getattr(importlib.import_module(entry.module), entry.config)
    theirs: tuple[str, ...] = ("out=", "storage=")  # where a job writes is the cluster's affair
    if not has_network and network_of(arguments) is not None:
        theirs += ("network=", "scenario.")
    kept = [argument for argument in arguments if not argument.startswith(theirs)]
    return [run.command for run in compose_runs(schema, kept)]


def _parted(argv: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """Part submit's own options from the command that is sent and its arguments."""
    keys = {field.name for field in fields(SubmitCommand)}
    own = [a for a in argv if "=" in a and a.partition("=")[0] in keys]
    command, *arguments = [a for a in argv if a not in own] or [""]
    return own, command, arguments


def _values_of(names: Sequence[str]) -> dict[str, str]:
    """Return variables of this environment. Raises ConfigError for secrets and what isn't set."""
    values = {}
    for name in names:
        value = os.environ.get(name)
        if value is None:
            raise ConfigError(
                f"variables names {shown(name)}, which isn't set here; expected variables of this "
                "environment: set it, or leave it out."
            )
        if is_secret_name(name) or redact(value) != value:
            raise ConfigError(
                f"variables names {shown(name)}, a secret, which Ray would write into its logs; "
                "expected none: set it where the nodes of the cluster are started, in Kubernetes "
                "from a secret."
            )
        values[name] = value
    return values


def _with_network(
    words: Sequence[str], working_dir: str | None, scratch: Path
) -> tuple[list[str], Path | None]:
    """Return the words with the network file as the job finds it, and the folder that is sent.

    Without a working directory that is the network file alone.
    """
    network = network_of(words)
    folder = None if working_dir is None else Path(working_dir).absolute()
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"working_dir is {shown(str(working_dir))}; expected a folder.")
    if network is None:
        return [*words], folder
    if folder is None:
        folder, inside = scratch, Path(network.name)
        shutil.copyfile(network, scratch / inside)
    elif network.absolute().is_relative_to(folder):
        inside = network.absolute().relative_to(folder)
    else:
        raise ConfigError(
            f"network={network} isn't in working_dir={working_dir}, which is all that is sent; "
            "expected it there: copy it, or leave working_dir out."
        )
    kept = [word for word in words if not word.startswith("network=")]
    return [*kept, f"network={inside}"], folder
