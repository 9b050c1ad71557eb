"""Do the property checks bite? Bugs are planted in copies of the simulator; each must be found.

The copies run as plain Python (nothing to compile), so a mutation costs seconds. A mutation whose
text is no longer in the source fails: it must follow the source, not pass for want of a target.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.envs.mutant_run import CAUGHT

ROOT = Path(__file__).parents[2]
SEEDS = 12


@dataclass(frozen=True)
class Mutation:
    """A bug: in `file`, `source` (which stands there exactly once) becomes `bug`."""

    name: str
    file: str
    source: str
    bug: str


MUTATIONS = (
    Mutation(
        "arrivals never reach the shelf",
        "events/receive.py",
        "on_hand[b] += due[b]",
        "on_hand[b] += 0.0",
    ),
    Mutation(
        "arrivals stay in the pipeline and come again",
        "events/receive.py",
        "            due[b] = 0.0",
        "            pass",
    ),
    Mutation(
        "delayed orders reach the sender twice",
        "events/receive.py",
        "owed[b] += due[b]",
        "owed[b] += 2.0 * due[b]",
    ),
    Mutation(
        "everybody unmet is lost, whatever p_wait",
        "events/serve.py",
        "lost[b] = (1.0 - p_wait) * unmet",
        "lost[b] = unmet",
    ),
    Mutation(
        "new customers are served before the backlog",
        "events/serve.py",
        "older[b] = min(backorders[b], available)",
        "older[b] = min(backorders[b], max(0.0, available - today[b]))",
    ),
    Mutation(
        "served backlog stays in the backlog",
        "events/serve.py",
        "(today[b] - sold[b] - lost[b]) - older[b]",
        "today[b] - sold[b] - lost[b]",
    ),
    Mutation(
        "shipped orders stay owed",
        "events/ship.py",
        "owed[b] -= shipped[b]",
        "owed[b] -= 0.0",
    ),
    Mutation(
        "cancelled orders are not written down",
        "events/ship.py",
        "copy_row(flows.cancelled[q, lo:hi], owed)",
        "pass",
    ),
    Mutation(
        "goods arrive a period late",
        "events/ship.py",
        "slot = (period + lead) % state.in_transit.shape[1]",
        "slot = (period + lead + 1) % state.in_transit.shape[1]",
    ),
    Mutation(
        "every row takes the first row's lead time",
        "events/ship.py",
        "lead = leads[lo + b]",
        "lead = leads[lo]",
    ),
    Mutation(
        "first come, first served instead of sharing",
        "events/ship.py",
        "proportional = want[b] * available[b] / max(need[b], 1e-300)",
        "proportional = available[b]",
    ),
    Mutation(
        "everybody who shares gets all there is",
        "events/ship.py",
        "proportional = share[b] * available[b] / max(need[b], 1e-300)",
        "proportional = available[b]",
    ),
    Mutation(
        "bills of materials take one of each part",
        "events/ship.py",
        "available[b] = max(0.0, available[b] - factor * values[b])",
        "available[b] = max(0.0, available[b] - values[b])",
    ),
    Mutation(
        "capacity is there again in every pass",
        "events/ship.py",
        "            _take(left, net.resources.value[i], share)",
        "            _take(left, 0.0, share)",
    ),
    Mutation(
        "regimes don't limit what ships",
        "events/ship.py",
        "want[b] = owed[b] * usable[b]",
        "want[b] = owed[b]",
    ),
    Mutation(
        "costs charged on top miss the total",
        "events/account.py",
        "        cost[b] += charge\n        total[b] += charge",
        "        cost[b] += charge",
    ),
    Mutation(
        "revenue forgets served backlog",
        "events/account.py",
        "_charge_more(cost, total, -net.price[p], flows.backlog_served[p, lo:hi])",
        "pass",
    ),
    Mutation(
        "the information delay is a period short",
        "events/order.py",
        "slot = (period + delay) % state.orders_on_way.shape[1]",
        "slot = (period + delay - 1) % state.orders_on_way.shape[1]",
    ),
    Mutation(
        "negative orders are placed",
        "feasibility.py",
        "quantity = min(max(raw, 0.0), maximum_order)",
        "quantity = min(raw, maximum_order)",
    ),
    Mutation(
        "a hidden constant of one unit",
        "events/order.py",
        "raw[b] = max(0.0, want[b] + LEVEL_RANGE * level[b] * sd[b])",
        "raw[b] = max(0.0, want[b] + 1.0 + LEVEL_RANGE * level[b] * sd[b])",
    ),
    Mutation(
        "chance depends on the row, not on the episode",
        "random_streams.py",
        "np.uint64(first_episode + b)",
        "np.uint64(b)",
    ),
)


def run_checks(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the checks on the copy of `envs` in the folder."""
    path = os.pathsep.join((str(folder), str(ROOT)))
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.envs.mutant_run", str(SEEDS)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of `envs`."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "envs", tmp_path / "envs", ignore=ignore)
    return tmp_path


def test_clean_copy_passes(copy: Path) -> None:
    """Without a planted bug the checks find nothing, and it is the copy they look at."""
    result = run_checks(copy)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"checking {copy / 'envs'}" in result.stdout


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_mutation_is_caught(mutation: Mutation, copy: Path) -> None:
    """The checks find the planted bug."""
    file = copy / "envs" / mutation.file
    text = file.read_text()
    assert text.count(mutation.source) == 1, (
        f"mutation no longer applies: update it. '{mutation.source}' stands "
        f"{text.count(mutation.source)} times in envs/{mutation.file}; expected once."
    )
    file.write_text(text.replace(mutation.source, mutation.bug))
    result = run_checks(copy)
    assert result.returncode == CAUGHT, (
        f"'{mutation.name}' was not caught: {result.stdout}{result.stderr}"
    )
