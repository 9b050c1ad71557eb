"""Run tasks side by side: `workers=1` in this process, more of them on Ray.

    with open_workers(command.workers) as workers:
        for ended in workers.run("tune", [Task(name, function), ...], progress):
            print(ended.index, ended.error or ended.value)

Ray is imported for two workers or more only. Its local instance ends with the `with` block; where
RAY_ADDRESS names a cluster, the tasks run there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from evaluation.progress import Progress, TextProgress
from evaluation.tasks import Ended, Task

T = TypeVar("T")


class Workers(Protocol):
    """Does tasks; how many at once and where is its own affair."""

    def run(self, title: str, tasks: Sequence[Task[T]], progress: Progress) -> Iterator[Ended[T]]:
        """Yield every task as it ends, in any order; one that fails doesn't stop the others.

        progress: one phase with a step a task; what the tasks report becomes its text. Tasks that
        run are ended where the caller stops listening (an error, Ctrl-C).
        """


class InProcess:
    """One task after the other, in this process."""

    def run(self, title: str, tasks: Sequence[Task[T]], progress: Progress) -> Iterator[Ended[T]]:
        """Yield the tasks in their order."""
        progress.phase(title, len(tasks))
        for index, task in enumerate(tasks):
            line = TextProgress(lambda text, done=index: progress.update(done, text))  # type: ignore[misc]
            try:
                ended = Ended(index, task.run(line))
            except Exception as error:
                ended = Ended(index, error=error)
            progress.update(index + 1, task.name)
            yield ended


IN_PROCESS = InProcess()


def results(workers: Workers, title: str, tasks: Sequence[Task[T]], progress: Progress) -> list[T]:
    """Return what every task gave, in their order. Raises the first error."""
    values = {ended.index: ended.result() for ended in workers.run(title, tasks, progress)}
    return [values[index] for index in range(len(tasks))]


@contextmanager
def open_workers(
    count: int, bundles: Sequence[Mapping[str, float]] = ({"CPU": 1.0},)
) -> Iterator[Workers]:
    """Give `count` workers. bundles: what each takes of Ray's resources: its own process first,
    then every Ray actor that its tasks start.

    Raises ConfigError where the cluster is smaller than that.
    """
    if count <= 1:
        yield IN_PROCESS
        return
    prepare_ray()
    from evaluation.ray_workers import ray_workers  # takes seconds

    with ray_workers(count, bundles) as workers:
        yield workers


def prepare_ray() -> None:
    """Set what Ray reads while it is imported, so before that; what the user has set stays."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    token = Path.home() / ".ray" / "auth_token"
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() or token.exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # a cluster that is joined may want it
    if "RAY_ADDRESS" not in os.environ:  # its own ports on loopback, unless a cluster is joined
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
