"""Jobs in processes of their own: what one breaks, the others don't notice."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

from envs.errors import ConfigError
from training.jobs import Job, PipeProgress, run_jobs


def good(folder: Path, progress: PipeProgress) -> None:
    """Say something, leave a file."""
    progress.phase("counting", 3)
    (folder / "good").write_text(str(os.getpid()))


def wrong(progress: PipeProgress) -> None:
    """An error that a user can mend."""
    raise ConfigError("traces is 0; expected at least 1.")


def killed(progress: PipeProgress) -> None:
    """As the kernel does it when memory runs out."""
    os.kill(os.getpid(), 9)


def endless(folder: Path, progress: PipeProgress) -> None:
    """Never ends by itself."""
    (folder / "endless").write_text(str(os.getpid()))
    time.sleep(600)


def test_every_job_ends_as_it_does(tmp_path: Path) -> None:
    """One is done, one is wrong, one is killed, one takes too long."""
    news: list[tuple[str, str]] = []
    ends: dict[str, str] = {}
    jobs = [
        Job("wrong", wrong),
        Job("killed", killed),
        Job("endless", functools.partial(endless, tmp_path), time_limit=6.0),
        Job("good", functools.partial(good, tmp_path)),
    ]
    run_jobs(jobs, 2, on_news=lambda n, t: news.append((n, t)), on_end=ends.__setitem__)
    assert ends == {
        "wrong": "traces is 0; expected at least 1.",
        "killed": "its process ended with exit code -9",
        "endless": "not finished within 6 s",
        "good": "",
    }
    assert ("good", "counting") in news
    assert int((tmp_path / "good").read_text()) != os.getpid()
    late = int((tmp_path / "endless").read_text())
    assert not Path(f"/proc/{late}").exists()  # ended, not left behind
