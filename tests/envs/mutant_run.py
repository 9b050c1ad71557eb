"""Run the property checks on whatever `envs` is first on the path, without compiling anything.

`python -m tests.envs.mutant_run SEEDS` exits with 0 when all checks hold, and with 3, naming
what is wrong, as soon as one fails. `test_mutations.py` runs it on copies of the package.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import envs
from envs.trace import trace
from tests.envs.comparisons import COMPARISONS
from tests.envs.laws import LAWS
from tests.envs.runs import random_run

__all__ = ["CAUGHT", "main"]

CAUGHT = 3


def main(seeds: int) -> int:
    """Check random networks; the first broken check ends the run."""
    print(f"checking {Path(envs.__file__).parent}")
    trace._BLOCK_VALUES = 64  # draws the same, but hardly more than is played
    try:
        for seed in range(seeds):
            run = random_run(Random(seed), periods=12)
            for law in LAWS.values():
                law(run)
            if seed % 6 == 0:  # they take longer, and find what no law can
                for compare in COMPARISONS.values():
                    compare(Random(seed))
    except AssertionError as error:
        print(f"caught: {error}")
        return CAUGHT
    print("nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
