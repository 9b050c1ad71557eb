"""What a planner would pay who knew the future: a lower bound on the cost of every policy.

Per trace, the linear programme of the whole episode (`envs.linear_programme.programme`) with the
demand, lead times and regimes that will come. Its value is at most what any policy pays on that
trace, rounding, fixed costs and all; how much less depends on how much there is to know.

The programme runs from the first period of the warm-up, whose costs don't count, as they don't
count for policies: the bound holds for every policy, each warmed up in its own way. Stock is valued
as `envs.kpis.pairs` values it, at the start and at the end of what is counted.
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np

from envs.errors import ConfigError
from envs.linear_programme.programme import (
    OpeningState,
    Pricing,
    record_outlooks,
    relaxations,
)
from envs.linear_programme.rows import build_programme
from envs.reward import COST_ALONE
from envs.scenario import Scenario
from envs.simulation.simulator import Simulator
from evaluation.comparison.compare import estimate
from evaluation.optima.bound import Bound, BoundKind
from evaluation.progress import SILENT, Progress
from evaluation.tasks import Task
from evaluation.workers import IN_PROCESS, Workers

# Lanes x periods. scale_1000 over 15 periods, 770,000: two minutes and 2.2 GB a trace.
_LARGEST = 1_000_000


def hindsight_bound(
    scenario: Scenario,
    *,
    traces: int,
    seed: int,
    split: str = "test",
    time_limit: float | None = None,
    workers: Workers = IN_PROCESS,
    progress: Progress = SILENT,
) -> Bound:
    """Return the mean of `solve_episode` over traces 0, 1, ... of the seed, with its 95 % interval
    (Student's t). A task is a trace.

    time_limit: seconds, looked at after every trace.
    Raises ConfigError where the network is too large or time is up, NetworkError where cost has no
    lower end.
    """
    if traces < 2:
        raise ConfigError(f"traces is {traces}; expected at least 2, for an interval.")
    size = len(scenario.network.lanes) * (scenario.episode_length(split) + scenario.warm_up)
    if size > _LARGEST:
        raise ConfigError(
            f"scenario '{scenario.name}': {size:,} lanes x periods are too many for a linear "
            f"programme; expected at most {_LARGEST:,}. Shorten the horizon or take a smaller "
            "network (smoke=true)."
        )
    tasks = [
        Task(f"trace {episode}", partial(solve_episode, scenario, seed, split, episode))
        for episode in range(traces)
    ]
    costs, seconds, began = np.zeros(traces), 0.0, time.monotonic()
    for done, ended in enumerate(workers.run("hindsight", tasks, progress), 1):
        costs[ended.index], spent = ended.result()
        seconds += spent
        if time_limit is not None and time.monotonic() - began > time_limit and done < traces:
            raise ConfigError(
                f"hindsight took longer than {time_limit:g} s: {done} of {traces} traces are "
                "solved. Allow more seconds, or fewer traces."
            )
    relaxed = relaxations(scenario.compiled)
    method = "hindsight linear programme"
    if relaxed:
        method += f", relaxing {', '.join(relaxed)}"
    mean = estimate(costs)
    return Bound(mean.mean, BoundKind.bound, method, mean.half_width, seconds)


def solve_episode(
    scenario: Scenario, seed: int, split: str, episode: int, _: Progress = SILENT
) -> tuple[float, float]:
    """Return what an episode costs at least [currency per period], and the CPU seconds to find it.

    Raises NetworkError where cost has no lower end.
    """
    began = time.process_time()
    net, counted = scenario.compiled, scenario.episode_length(split)
    simulator = Simulator(net, 1)
    simulator.reset(seed, episode, scenario.starts(split), scenario.bootstrap(split))
    period = simulator.period
    pricing = Pricing.plain(net, COST_ALONE.salvage_share, scenario.warm_up)
    start = OpeningState.of(net, simulator.state, simulator.flows, period, 0)
    [outlook] = record_outlooks(simulator.trace, net, period, counted + pricing.first_counted)
    cost = build_programme(net, outlook, start, pricing).solve().value / counted
    return cost, time.process_time() - began
