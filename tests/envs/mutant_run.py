"""Run the property checks on copies of `envs`, without compiling anything.

`python -m tests.envs.mutant_run CHECK SEEDS CLEAN FOLDER...` checks the `envs` of every folder in
turn, each in a process of its own that begins with the libraries loaded, and prints a JSON line for
each: which copy it looked at and what it found (null: nothing). The clean copy comes last, with as
many networks as the others needed. CHECK: `laws` of periods, or `slopes` of them; these are held to
the differences that standard input brings, a JSON list for each network: no bug is planted in what
they are made of, and compiled they take a fraction of the time.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import sys
from pathlib import Path
from random import Random
from typing import Any

import gymnasium  # noqa: F401  # loaded once for all copies: they take longer than the checks
import hydra  # noqa: F401
import numba  # noqa: F401
import pandas  # noqa: F401
import scipy.optimize
import scipy.sparse
import scipy.stats  # noqa: F401


def check(what: str, seeds: int, folder: str, used: Any, differences: list[Any]) -> None:
    """Check random networks with the folder's `envs`; the first broken check ends the run.

    what: laws or slopes. seeds: how many networks. folder: holds `envs`. used: shared counter, the
    most networks needed. differences: of slopes, of every network, with its seed.
    """
    sys.path.insert(0, folder)
    envs = importlib.import_module("envs")
    trace: Any = importlib.import_module("envs.trace.trace")
    trace._BLOCK_VALUES = 64  # draws the same, but hardly more than is played
    checks: Any = check_laws() if what == "laws" else check_slopes(differences)
    found = None
    try:
        for seed in range(seeds):
            used.value = max(used.value, seed + 1)
            checks(seed)
    except AssertionError as error:
        found = f"{error}" or "a check without a message"
    print(json.dumps([str(Path(str(envs.__file__)).parent), found]), flush=True)


def check_laws() -> Any:
    """The laws of a random run; of some networks comparisons of runs."""
    laws = importlib.import_module("tests.envs.laws").LAWS
    comparisons = importlib.import_module("tests.envs.comparisons").COMPARISONS
    random_run = importlib.import_module("tests.envs.runs").random_run

    def check_network(seed: int) -> None:
        run = random_run(Random(seed), periods=12)
        for law in laws.values():
            law(run)
        if seed % 6 == 0:  # they take longer, and find what no law can
            for compare in comparisons.values():
                compare(Random(seed))

    return check_network


def check_slopes(differences: list[Any]) -> Any:
    """Slopes of a network, by differences."""
    judge = importlib.import_module("tests.envs.reverse_judge")
    judge_of = importlib.import_module("tests.envs.reverse_cases").judge_of

    def check_network(place: int) -> None:
        what, numbers = differences[place]
        known = [judge.Difference.from_json(*one) for one in numbers]
        wrong = judge.wrong(judge_of(what).slopes(), known)
        assert not any(one.is_smooth for one, _ in wrong), f"network {what}: {wrong}"

    return check_network


def main(what: str, seeds: int, clean: str, folders: list[str]) -> None:
    """Check every folder. A check that breaks otherwise prints its traceback and no line."""
    context = multiprocessing.get_context("fork")
    used = context.Value("i", 1)
    differences = json.load(sys.stdin) if what == "slopes" else []
    for folder in [*folders, clean]:
        count = used.value if folder == clean else seeds
        args = (what, count, folder, used, differences)
        process = context.Process(target=check, args=args)
        process.start()
        process.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:])
