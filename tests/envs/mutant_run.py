"""Run the property checks on whatever `envs` is first on the path, without compiling anything.

`python -m tests.envs.mutant_run SEEDS` exits with 0 when all checks hold, and with 3, naming
the check, as soon as one fails. `test_mutations.py` runs it on copies of the package.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import envs
from tests.envs.checks import COMPARISONS, LAWS, random_run

__all__ = ["CAUGHT", "main"]

CAUGHT = 3


def main(seeds: int) -> int:
    """Check random networks; the first broken check ends the run."""
    print(f"checking {Path(envs.__file__).parent}")
    name = ""
    try:
        for seed in range(seeds):
            run = random_run(Random(seed), periods=8)
            for name, law in LAWS.items():
                law(run)
            for name, compare in COMPARISONS.items():
                compare(Random(seed), 5)
    except AssertionError as error:
        print(f"caught by {name}, seed {seed}: {error}")
        return CAUGHT
    print("nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
