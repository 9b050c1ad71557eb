"""The `echelon` command.

A command's code is imported when it is called: `echelon --help` loads nothing but the standard
library and answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["COMMANDS", "Command", "__version__", "main"]

__version__ = "0.1.0"


class Command(NamedTuple):
    """target: module:function, of signature (argv: list[str]) -> exit code. summary: one line."""

    target: str
    summary: str


COMMANDS = {
    "train": Command(
        "training.commands.train:train",
        "train, compare with the tuned classical policy, export, register",
    ),
    "evaluate": Command(
        "evaluation.commands.evaluate:evaluate",
        "compare policies, learned or classical, on the same demand",
    ),
    "replay": Command(
        "evaluation.commands.replay:replay",
        "simulate given demand with given orders, period by period",
    ),
    "show": Command(
        "evaluation.commands.show:show",
        "describe a scenario: its network and one run, as tables and pictures",
    ),
    "bound": Command(
        "evaluation.commands.bound:bound",
        "compute what the best policy costs, or what none can cost less than",
    ),
    "tune": Command(
        "evaluation.commands.tune:tune",
        "find the best parameters of the classical policies, and the best policy",
    ),
    "report": Command(
        "training.commands.report:report",
        "study many scenarios: where learning pays, and where the rule is as good",
    ),
    "sweep": Command(
        "training.commands.sweep:sweep",
        "train with many options, stop the poor ones early, keep the best",
    ),
    "verify": Command(
        "evaluation.commands.verify:verify_command",
        "run published and verified results again: expected, got, difference",
    ),
    "serve": Command(
        "serving.cli:serve",
        "answer replenishment requests over HTTP with the champion",
    ),
}

# Errors that a user can mend: one line, no traceback. By name, so that none of these modules is
# imported for the sake of a comparison: an error raised by one that isn't loaded can't exist.
_EXPECTED = (
    ("envs.errors", "EchelonError"),
    ("hydra.errors", "HydraException"),
    ("omegaconf.errors", "OmegaConfBaseException"),
)
# Lines of Hydra and OmegaConf that tell a user nothing.
_NOISE = ("object_type=", "reference_type=", "Set the environment variable HYDRA_FULL_ERROR")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 2 for wrong usage, 1 for errors, 130 for Ctrl-C."""
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough, as in `echelon --help | head -1`. What Python flushes at exit
        # goes nowhere; 141 is what shells report for SIGPIPE.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        print(_usage(), file=sys.stderr)
        return 2
    name, *rest = arguments
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        print(f"echelon {__version__}")
        return 0
    if name not in COMMANDS:
        print(f"echelon: error: {_unknown(name)}", file=sys.stderr)
        return 2
    return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int:
    try:
        return _load(COMMANDS[name].target)(arguments)
    except KeyboardInterrupt:
        print(f"echelon {name}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        message = _readable(error)
        if message is None:
            raise
        print(f"echelon {name}: error: {message}", file=sys.stderr)
        return 1


def _load(target: str) -> Callable[[list[str]], int]:
    module, function = target.split(":")
    loaded: Callable[[list[str]], int] = getattr(importlib.import_module(module), function)
    return loaded


def _readable(error: BaseException) -> str | None:
    """Return the error on one line, or None if only a traceback can explain it."""
    # Ray raises a remote error as a subclass of its own class, with the remote traceback as its
    # text and the original in `cause`.
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and cause is not error:
        return _readable(cause)
    if not any(_is_instance(error, module, name) for module, name in _EXPECTED):
        return None
    lines = [line.strip().rstrip(";") for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(_NOISE)]
    return " ; ".join(kept) or type(error).__name__


def _is_instance(error: BaseException, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(error, kind)


def _unknown(name: str) -> str:
    import difflib

    what = "option" if name.startswith("-") else "command"
    known = [*COMMANDS, "--help", "--version"]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"unknown {what} '{name}'.{hint} Known: {', '.join(known)}."


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: echelon <command> [key=value ...]",
            "",
            "Replenishment of multi-echelon supply networks: simulate, train, evaluate, serve.",
            "",
            "commands:",
            *commands,
            "",
            "options:",
            "  --help     this text; `echelon <command> --help` lists a command's options",
            "  --version  the version",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
