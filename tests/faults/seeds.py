"""Plays seeds; says which one failed, what was done in it, and how to play it again."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.faults.world import World

_ONE = "FAULT_SEED"
_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # real disks take their time
_LAST = 80  # steps that are told


def play_seeds(seeds: Iterable[int], play: Callable[[World, Path], object]) -> None:
    """Play a world for each seed in an empty folder, or for the one that the environment names."""
    chosen = os.environ.get(_ONE)
    logging.disable()  # thousands of warnings, of what is done to them on purpose
    try:
        for seed in seeds if chosen is None else [int(chosen)]:
            with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
                world = World(seed)
                try:
                    play(world, Path(folder).resolve())
                except Exception as problem:
                    told = "\n".join(world.log[-_LAST:])
                    test = os.environ["PYTEST_CURRENT_TEST"].partition(" (")[0]
                    raise AssertionError(
                        f"{told}\nseed {seed} failed: {problem!r}\n"
                        f"again: {_ONE}={seed} python -m pytest '{test}'"
                    ) from problem
    finally:
        logging.disable(logging.NOTSET)
