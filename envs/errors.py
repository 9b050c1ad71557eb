"""Every error Echelon raises on purpose, as one tree.

EchelonError
├── ConfigError        a setting is missing, unknown or out of range
├── NetworkError       the supply network contradicts itself
├── ActionError        an environment got an action that it can't play
├── DataError          a table or file is missing or unreadable as documented
├── ArtifactError      an exported policy does not verify
├── CheckpointError    a training checkpoint does not verify
├── StorageError       a storage does not answer, or what is in it does not verify
├── NonFiniteError     a NaN or an infinity came out of a simulation
├── TrainingStopped    training can't make progress any more
├── Interrupted        a signal ended a training; what it had learned is saved
├── ClusterError       a Ray cluster doesn't answer, or doesn't do what it is asked
├── ServiceError       an endpoint refuses a request, or doesn't answer
└── WorkerError        the process of a task ended before its work did

Each message says what, where, what was got, what was wanted and what to do, on one line:
the commands print it as it is.
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Sequence

from envs.redact import redact

_MOST_NAMED = 40  # names listed in a message
_MOST_SHOWN = 200  # characters of a name that are compared
_MOST_READ = 10_000  # of a value that is shown


class EchelonError(ValueError):
    """Root of all errors that a user can cause or fix.

    exit_code: of the command that it ends.
    """

    exit_code = 1


class ConfigError(EchelonError):
    """A setting is missing, unknown or out of range."""


class NetworkError(EchelonError):
    """The supply network contradicts itself."""


class ActionError(EchelonError):
    """An environment got an action that it can't play."""


class DataError(EchelonError):
    """A table or a file is missing, or not as documented."""


class ArtifactError(EchelonError):
    """An exported policy does not verify."""


class CheckpointError(EchelonError):
    """A training checkpoint does not verify."""


class StorageError(EchelonError):
    """A storage does not answer, or what is in it does not verify."""


class NonFiniteError(EchelonError):
    """A NaN or an infinity came out of a simulation."""


class TrainingStopped(EchelonError):
    """Training can't make progress any more."""


class Interrupted(EchelonError):
    """A signal ended a training; what it had learned is saved.

    exit_code: 75 (sysexits.h: try again later) after SIGTERM, 130 after Ctrl-C.
    """

    def __init__(self, number: signal.Signals, text: str = "") -> None:
        super().__init__(text or f"stopped by {number.name}")
        self.number = number
        self.exit_code = 130 if number == signal.SIGINT else 75


class Terminated(KeyboardInterrupt):
    """SIGTERM came: as Ctrl-C, it passes through what handles errors."""


class ClusterError(EchelonError):
    """A Ray cluster doesn't answer, or doesn't do what it is asked."""


class ServiceError(EchelonError):
    """An endpoint refuses a request, or doesn't answer.

    status: of HTTP; None where nothing was answered.
    errors: (field, message) of what is wrong with the request.
    """

    def __init__(
        self, text: str, status: int | None = None, errors: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(text)
        self.status, self.errors = status, tuple(errors)


class WorkerError(EchelonError):
    """The process of a task ended before its work did."""


def shown(value: object, most: int = 60) -> str:
    """Return a value that a user gave as messages show it: in quotes, control characters escaped,
    cut to `most` characters, without the password of an address.

    >>> shown("\x1b[2J")
    "'\\\\x1b[2J'"
    """
    if isinstance(value, str):
        text = repr(redact(value[:_MOST_READ])[: most + 1])
    else:
        text = redact(repr(value))
    return text if len(text) <= most else f"{text[: most - 3]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message: the closest known name, and all of them where they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(name[:_MOST_SHOWN], names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    few, more = names[:_MOST_NAMED], len(names) - _MOST_NAMED
    return f"{hint} Known: {', '.join(few)}{f' and {more} more' if more > 0 else ''}."
