"""Tasks for the tests of workers, in a module that their processes import in no time."""

from __future__ import annotations

import os
from pathlib import Path

from envs.errors import ConfigError
from evaluation.progress import Progress


def good(value: int, progress: Progress) -> int:
    """Report a phase and return."""
    progress.phase("counting", 3)
    return value


def wrong(progress: Progress) -> int:
    """Raise what a user can mend."""
    raise ConfigError("traces is 0; expected at least 1.")


def killed(progress: Progress) -> int:
    """End as the kernel does it when memory runs out."""
    os.kill(os.getpid(), 9)
    raise AssertionError


def killed_once(marker: Path, progress: Progress) -> str:
    """End so while the file is there; what does it anew finds none."""
    if marker.exists():
        marker.unlink()
        os.kill(os.getpid(), 9)
    return "done"


def where(progress: Progress) -> tuple[int, str, str]:
    """Return process id, folder and threads."""
    return os.getpid(), os.getcwd(), os.environ["OMP_NUM_THREADS"]


def with_an_actor(progress: Progress) -> str:
    """Start an actor of two CPUs and ask it."""
    import ray

    actor = ray.remote(num_cpus=2)(Answer).remote()
    return str(ray.get(actor.give.remote(), timeout=120))


class Answer:
    """An actor."""

    def give(self) -> str:
        """Answer."""
        return "here"
