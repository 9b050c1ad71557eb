"""The `echelon` command.

A command's code is imported when it is called: `echelon --help` loads nothing but the standard
library and answers at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NamedTuple

__all__ = ["COMMANDS", "Command", "__version__", "main"]

__version__ = "0.1.0"


class Command(NamedTuple):
    """Where a command is found."""

    module: str
    run: str  # its function, (argv: list[str]) -> exit code
    config: str  # its dataclass, a `conf.compose.CommandConfig`
    summary: str  # one line


# By what is typed after `echelon`: a word, or two, as in `cluster render`.
COMMANDS = {
    "train": Command(
        "training.commands.train",
        "train",
        "TrainCommand",
        "train, compare with the tuned classical policy, export, register",
    ),
    "evaluate": Command(
        "evaluation.commands.evaluate",
        "evaluate",
        "EvaluateCommand",
        "compare policies, learned or classical, on the same demand",
    ),
    "replay": Command(
        "evaluation.commands.replay",
        "replay",
        "ReplayCommand",
        "simulate given demand with given orders, period by period",
    ),
    "show": Command(
        "evaluation.commands.show",
        "show",
        "ShowCommand",
        "describe a scenario: its network and one run, as tables and pictures",
    ),
    "bound": Command(
        "evaluation.commands.bound",
        "bound",
        "BoundCommand",
        "compute what the best policy costs, or what none can cost less than",
    ),
    "tune": Command(
        "evaluation.commands.tune",
        "tune",
        "TuneCommand",
        "find the best parameters of the classical policies, and the best policy",
    ),
    "report": Command(
        "training.commands.report",
        "report",
        "ReportCommand",
        "study many scenarios: where learning pays, and where the rule is as good",
    ),
    "sweep": Command(
        "training.commands.sweep",
        "sweep",
        "SweepCommand",
        "train with many options, stop the poor ones early, keep the best",
    ),
    "verify": Command(
        "evaluation.commands.verify",
        "verify_command",
        "VerifyCommand",
        "run published and verified results again: expected, got, difference",
    ),
    "serve": Command(
        "serving.cli",
        "serve",
        "ServeCommand",
        "answer replenishment requests over HTTP with the champion",
    ),
    "recommend": Command(
        "evaluation.commands.recommend",
        "recommend",
        "RecommendCommand",
        "write the order lines of whole networks from tables: the nightly batch",
    ),
    "models": Command(
        "evaluation.commands.models",
        "models",
        "ModelsCommand",
        "list registered policies, what the gate said, and who moved @champion",
    ),
    "promote": Command(
        "evaluation.commands.promote",
        "promote_command",
        "PromoteCommand",
        "make a version the champion, if it passes the gate",
    ),
    "rollback": Command(
        "evaluation.commands.promote",
        "rollback_command",
        "RollbackCommand",
        "make the champion before the present one the champion again",
    ),
    "submit": Command(
        "training.commands.submit",
        "submit",
        "SubmitCommand",
        "let a running Ray cluster train, tune, sweep, report or recommend, and follow it",
    ),
    "status": Command(
        "training.commands.status",
        "status",
        "StatusCommand",
        "list the jobs and the nodes of a Ray cluster",
    ),
    "doctor": Command(
        "training.commands.doctor",
        "doctor",
        "DoctorCommand",
        "look whether a long job would find what it needs, on every node",
    ),
    "cluster render": Command(
        "training.commands.cluster_render",
        "cluster_render",
        "ClusterRenderCommand",
        "write a cluster, a job or a nightly job down for Kubernetes",
    ),
}

# Errors that a user can fix: one line, no traceback. By name, so that none of these modules is
# imported for the sake of a comparison: an error raised by one that isn't loaded can't exist.
_EXPECTED = (
    ("envs.errors", "EchelonError"),
    ("hydra.errors", "HydraException"),
    ("omegaconf.errors", "OmegaConfBaseException"),
)
_LONGEST_MESSAGE = 2_000  # characters
# Lines of Hydra and OmegaConf that don't help a user.
_NOISE = ("object_type=", "reference_type=", "Set the environment variable HYDRA_FULL_ERROR")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 2 for wrong usage, 1 for errors, 130 for Ctrl-C, 75
    for SIGTERM."""
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
    name = arguments[0]
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        print(f"echelon {__version__}")
        return 0
    for words in (2, 1):
        if (name := " ".join(arguments[:words])) in COMMANDS:
            return _run(name, arguments[words:])
    if any(command.startswith(f"{name} ") for command in COMMANDS):
        if arguments[1:2] in (["-h"], ["--help"]):
            print(_usage(f"{name} "))
            return 0
        if len(arguments) == 1:
            print(_usage(f"{name} "), file=sys.stderr)
            return 2
        name = " ".join(arguments[:2])
    print(f"echelon: error: {_unknown(name)}", file=sys.stderr)
    return 2


def _run(name: str, arguments: list[str]) -> int:
    from envs.redact import keep_out

    command = COMMANDS[name]
    for argument in arguments:
        keep_out(argument)
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, _terminate)
    try:
        if any(argument in ("-h", "--help") for argument in arguments):
            config = _load(command.module, command.config)
            print(_load("conf.help", "help_text")(config, command.summary, arguments))
            return 0
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("training").setLevel(logging.INFO)  # what memory a training takes
        code: int = _load(command.module, command.run)(arguments)
        return code
    except KeyboardInterrupt as stopped:
        terminated = type(stopped) is not KeyboardInterrupt
        how = "terminated" if terminated else "interrupted"
        print(f"echelon {name}: {how}", file=sys.stderr)
        return 75 if terminated else 130
    except Exception as error:
        message = _readable(error)
        if message is None:
            raise
        print(f"echelon {name}: error: {message}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    from envs.errors import Terminated

    raise Terminated


def _load(module: str, name: str) -> Callable[..., Any]:
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return loaded


def _readable(error: BaseException) -> str | None:
    """Return the error on one line, or None if only a traceback can explain it."""
    # Ray raises a remote error as a subclass of its own class, with the remote traceback as its
    # text and the original in `cause`.
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and cause is not error:
        return _readable(cause)
    text = str(error)
    if isinstance(error, OSError) and isinstance(error.filename, str):
        text = f"'{error.filename}': {error.strerror}; check the path, its permissions, the disk."
    elif isinstance(error, MemoryError):
        text = f"out of memory ({text}); fewer traces, environments or workers take less."
    elif not any(_is_instance(error, module, name) for module, name in _EXPECTED):
        return None
    from envs.redact import redact

    lines = [line.strip().rstrip(";") for line in redact(text).splitlines()]
    kept = [line for line in lines if line and not line.startswith(_NOISE)]
    text = " ; ".join(kept) or type(error).__name__
    # What files and arguments brought must not steer the terminal, or fill it.
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:_LONGEST_MESSAGE])
    return text if len(text) < _LONGEST_MESSAGE else f"{text} ..."


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


def _usage(prefix: str = "") -> str:
    """Return the help of all commands, or of those that start with a word."""
    known = {name: c.summary for name, c in COMMANDS.items() if name.startswith(prefix)}
    width = max(map(len, known))
    commands = [f"  {name:<{width}}  {summary}" for name, summary in known.items()]
    return "\n".join(
        [
            "usage: echelon <command> [key=value ...]",
            "",
            "Replenishment of multi-echelon supply networks: simulate, train, evaluate, serve.",
            "",
            "commands:",
            *commands,
            "",
            "Problems are scenario=NAME, or network=FILE for a network of your own.",
            "",
            "options:",
            "  --help     this text; `echelon <command> --help` lists a command's options",
            "  --version  the version",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
