"""What a planner would pay who knew the future: a lower bound on the cost of every policy.

Per trace, the linear programme of the whole episode (`envs.linear_programme.programme`) with the
demand, lead times and regimes that will come. Its value is at most what any policy pays on that
trace, rounding, fixed costs and all; how much less depends on how much there is to know.

Two starts. Without a policy the programme runs from the first period of the warm-up, whose costs
don't count, as they don't count for policies: the bound holds for every policy, each warmed up in
its own way. With a policy it starts where that policy's warm-up ends: tighter, and a bound for
corrections of that policy, which start there too. Stock is valued as `envs.kpis.pairs` values it,
at the start and at the end of what is counted.
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np
from scipy import stats

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.linear_programme.programme import (
    OpeningState,
    Pricing,
    Programme,
    record_outlooks,
    relaxations,
)
from envs.linear_programme.rows import build_programme
from envs.policies.base import Policy
from envs.reward import COST_ALONE
from envs.scenario import Scenario
from envs.simulation.simulator import Simulator
from envs.types import Floats
from evaluation.optima.bound import Bound, BoundKind
from evaluation.progress import SILENT, Progress
from evaluation.tasks import Task
from evaluation.workers import IN_PROCESS, Workers

# Lanes x periods. scale_1000 over 15 periods, 770,000: two minutes and 2.2 GB a trace.
_LARGEST = 1_000_000


def hindsight_programmes(
    scenario: Scenario,
    *,
    seed: int,
    first_episode: int = 0,
    batch: int = 1,
    split: str = "test",
    policy: Policy | None = None,
) -> list[Programme]:
    """Return the programmes of episodes first_episode .. first_episode + batch - 1."""
    net, share = scenario.compiled, COST_ALONE.salvage_share
    counted = scenario.episode_length(split)
    if policy is None:
        simulator = Simulator(net, batch)
        simulator.reset(seed, first_episode, scenario.starts(split), scenario.bootstrap(split))
        pricing = Pricing.plain(net, share, scenario.warm_up)
    else:
        env = BatchedEnv(scenario, batch, split=split, base_policy=policy)
        env.reset(seed, first_episode)
        simulator, pricing = env.simulator, Pricing.plain(net, share)
    period, state, flows = simulator.period, simulator.state, simulator.flows
    starts = [OpeningState.of(net, state, flows, period, b) for b in range(batch)]
    periods = counted + pricing.first_counted
    outlooks = record_outlooks(simulator.trace, net, period, periods)
    return [
        build_programme(net, outlook, start, pricing)
        for outlook, start in zip(outlooks, starts, strict=True)
    ]


def hindsight_costs(
    scenario: Scenario,
    *,
    traces: int,
    seed: int,
    split: str = "test",
    policy: Policy | None = None,
) -> Floats:
    """Return [traces] currency per period: no policy pays less on that trace.

    Raises ConfigError where the network is too large, NetworkError where cost has no lower end.
    """
    _check_size(scenario, split, policy)
    return np.array([
        _solve(scenario, seed, split, policy, episode, SILENT)[0] for episode in range(traces)
    ])  # fmt: skip


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
    """Return the mean of `hindsight_costs` over traces 0, 1, ... of the seed, with its 95 %
    interval (Student's t). A task is a trace. time_limit: seconds, looked at after every trace.

    Raises ConfigError where the network is too large or time is up, NetworkError where cost has no
    lower end.
    """
    if traces < 2:
        raise ConfigError(f"traces is {traces}; expected at least 2, for an interval.")
    _check_size(scenario, split, None)
    tasks = [
        Task(f"trace {episode}", partial(_solve, scenario, seed, split, None, episode))
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
    error = float(costs.std(ddof=1)) / traces**0.5
    return Bound(
        cost=float(costs.mean()),
        kind=BoundKind.bound,
        method=method,
        half_width=float(stats.t.ppf(0.975, traces - 1)) * error,
        seconds=seconds,
    )


def _solve(
    scenario: Scenario, seed: int, split: str, policy: Policy | None, episode: int, _: Progress
) -> tuple[float, float]:
    """Return what an episode costs at least, and the CPU seconds to find that."""
    began = time.process_time()
    [programme] = hindsight_programmes(
        scenario, seed=seed, first_episode=episode, split=split, policy=policy
    )
    cost = programme.solve().value / scenario.episode_length(split)
    return cost, time.process_time() - began


def _check_size(scenario: Scenario, split: str, policy: Policy | None) -> None:
    periods = scenario.episode_length(split) + (scenario.warm_up if policy is None else 0)
    size = len(scenario.network.lanes) * periods
    if size > _LARGEST:
        raise ConfigError(
            f"scenario '{scenario.name}': {size:,} lanes x periods are too many for a linear "
            f"programme; expected at most {_LARGEST:,}. Shorten the horizon or take a smaller "
            "network (smoke=true)."
        )
