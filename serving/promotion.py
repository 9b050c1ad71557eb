"""Promotion and rollback for callers of the endpoint: `echelon promote` and `echelon rollback`.

In a process of their own, at low priority: a gate plays fresh traces for seconds to minutes, and
the replica has to answer meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading

from envs.errors import ConfigError
from evaluation.artifact.registry import ALIASES, current_version
from serving.schemas import Moved
from serving.source import Source

_WAIT_SECONDS = 45.0  # below the time that an answer may take
_LONGEST = 2000  # characters of what the command printed
# The arguments come through stdin: an address with a password doesn't belong into a list of
# processes.
_CODE = "import json, sys; from echelon import main; sys.exit(main(json.load(sys.stdin)))"

_BEFORE_QUOTE = r"(\\*)('|$)"

_busy = threading.Lock()  # one at a time in a replica


def promote(source: Source, version: str, force: bool, who: str, why: str) -> Moved:
    """Put the version before the gate, or, with force, past it.

    Raises ConfigError (not what is served, or one is at work here) and ArtifactError (the registry
    doesn't answer).
    """
    arguments = [f"version={version}", f"force={str(force).lower()}"]
    return _run("promote", source, version, arguments, who, why)


def rollback(source: Source, version: str, who: str, why: str) -> Moved:
    """Take the version back, which has to be the champion. Raises as `promote` does."""
    champion = current_version(source.model, "champion", source.tracking_uri)
    if champion != version:
        raise ConfigError(
            f"version {version} of {source.network} isn't the champion, {champion} is; expected "
            "the one that is to be taken back."
        )
    return _run("rollback", source, version, [], who, why)


def _run(
    command: str, source: Source, version: str, arguments: list[str], who: str, why: str
) -> Moved:
    if source.artifact not in ALIASES or not re.fullmatch("[0-9]+|challenger", version):
        raise ConfigError(
            f"{source.network} is served from {source.artifact}, and the version is "
            f"{version[:50]}; expected an alias that is served, and a number or challenger."
        )
    if not _busy.acquire(blocking=False):
        raise ConfigError("another promotion or rollback is at work here; try again later.")
    typed = [command, f"model={_quoted(source.model)}", f"reason={_quoted(why)}",
             f"tracking.uri={_quoted(source.tracking_uri)}", *arguments]  # fmt: skip
    # LOGNAME is who did it: getpass.getuser() looks there first.
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env={**os.environ, "LOGNAME": who or "endpoint"},
        preexec_fn=_yield_to_others,
    )  # fmt: skip
    printed: list[str] = []

    def follow() -> None:
        with contextlib.suppress(OSError, ValueError):
            printed.append(process.communicate(json.dumps(typed))[0])
        _busy.release()

    following = threading.Thread(target=follow, name=command, daemon=True)
    following.start()
    following.join(_WAIT_SECONDS)
    champion = current_version(source.model, "champion", source.tracking_uri)
    if following.is_alive():
        message = "the gate is still at work; GET /v1/policies says who is the champion"
        return Moved(network=source.network, champion=champion, moved=None, message=message)
    text = "".join(printed).strip()[-_LONGEST:]
    return Moved(
        network=source.network, champion=champion, moved=process.returncode == 0, message=text
    )


def _quoted(text: str) -> str:
    """In quotes, where Hydra takes it as it is: backslashes count before a quote only."""
    return f"'{re.sub(_BEFORE_QUOTE, lambda m: m[1] * 2 + (m[2] and chr(92) + m[2]), text)}'"


def _yield_to_others() -> None:
    os.nice(10)
