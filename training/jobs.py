"""Run jobs in processes of their own, a few at once: what one breaks, the others don't notice."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from envs.errors import EchelonError

__all__ = ["Job", "PipeProgress", "run_jobs"]

_QUIET = 1.0  # seconds between two messages of a job


@dataclass(frozen=True)
class Job:
    """run(progress) is called in a new process, so it must be picklable. time_limit: seconds after
    which the process is ended; None: as long as it takes."""

    name: str
    run: Callable[[PipeProgress], None]
    time_limit: float | None = None


class PipeProgress:
    """A `training.job.train.Progress` that sends lines of text to the process that started the
    job."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._phase, self._sent = pipe, "", 0.0

    def phase(self, text: str, total: float | None = None) -> None:
        """A phase begins."""
        self._phase, self._sent = text, time.monotonic()
        self._pipe.send(("news", text))

    def update(self, done: float, text: str = "") -> None:
        """Steps are done; told once a second at most."""
        now = time.monotonic()
        if text and now - self._sent > _QUIET:
            self._sent = now
            self._pipe.send(("news", f"{self._phase}: {text}"))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of an iteration: not told."""


@dataclass
class _Running:
    job: Job
    process: BaseProcess
    pipe: Connection
    began: float
    error: str | None = None
    finished: bool = False


def run_jobs(
    jobs: Sequence[Job],
    workers: int,
    *,
    on_news: Callable[[str, str], None],
    on_end: Callable[[str, str], None],
) -> None:
    """Run all jobs, `workers` at once, in their order.

    on_news(name, text): how far one is. on_end(name, error): one has ended; error: empty, or what
    stopped it, in one line. Whatever ends this call ends the processes too.
    """
    context = multiprocessing.get_context("spawn")  # Ray and Numba's threads don't survive a fork
    waiting, running = list(jobs), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_start(context, waiting.pop(0)))
            wait([r.pipe for r in running] + [r.process.sentinel for r in running], timeout=1.0)
            for one in list(running):
                _listen(one, on_news)
                if _ended(one):
                    running.remove(one)
                    on_end(one.job.name, one.error or "")
    finally:
        for one in running:
            _stop(one)


def _start(context: Any, job: Job) -> _Running:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, theirs), name=job.name)
    process.start()
    theirs.close()
    return _Running(job, process, ours, time.monotonic())


def _work(job: Job, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, who ends the jobs
    try:
        job.run(PipeProgress(pipe))
    except EchelonError as error:
        pipe.send(("error", str(error)))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        pipe.send(("error", f"{type(error).__name__} in {where.name}: {error}"))
    else:
        pipe.send(("done", ""))


def _listen(one: _Running, on_news: Callable[[str, str], None]) -> None:
    try:
        while one.pipe.poll():
            kind, text = one.pipe.recv()
            if kind == "news":
                on_news(one.job.name, text)
            else:
                one.finished = True
                one.error = " ".join(text.split()) or None
    except EOFError:  # the process is gone
        if not one.finished:
            one.process.join()
            one.finished = True
            one.error = f"its process ended with exit code {one.process.exitcode}"


def _ended(one: _Running) -> bool:
    limit = one.job.time_limit
    late = limit is not None and time.monotonic() - one.began > limit
    if late and not one.finished:
        one.finished, one.error = True, f"not finished within {limit:g} s"
    if one.finished:
        _stop(one, grace=0.0 if late else 20.0)
    return one.finished


def _stop(one: _Running, grace: float = 0.0) -> None:
    """Let the process end by itself for `grace` seconds, then end it and all that it started: Ray's
    agents would outlive it."""
    one.process.join(grace)
    if one.process.is_alive():
        family = psutil.Process(one.process.pid).children(recursive=True)
        one.process.kill()
        one.process.join(10.0)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
    one.pipe.close()
