"""evaluation/revision.py: the commit, without which a run goes on."""

from __future__ import annotations

import subprocess

import pytest

from evaluation.revision import git_revision


@pytest.mark.parametrize(
    "problem", [FileNotFoundError("no git"), subprocess.TimeoutExpired("git", 5)]
)
def test_a_git_that_is_missing_or_hangs_is_no_commit(
    monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    """A run, or an artifact, is not lost by it."""

    def fail(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(subprocess, "run", fail)
    git_revision.cache_clear()
    assert git_revision() is None
    git_revision.cache_clear()  # the other tests' commit is another
