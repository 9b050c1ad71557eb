"""What memory sampling takes, told before there is none left."""

from __future__ import annotations

import psutil
import ray

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from training.config import ResourcesConfig


def free_for_each(resources: ResourcesConfig, *, is_remote: bool) -> float:
    """Return the bytes that are free here for each of those that may share this machine.

    is_remote: whether this process is one of the runners on a cluster's nodes.
    """
    free = float(psutil.virtual_memory().available)
    if not is_remote:
        return free
    if resources.memory_per_runner:
        return min(free, resources.runner["memory"])
    here = ray.get_runtime_context().get_node_id()
    cpus = [node["Resources"].get("CPU", 1.0) for node in ray.nodes() if node["NodeID"] == here]
    return free / max(1, min(resources.runners, int(cpus[0] if cpus else 1)))


def free_for_learner(resources: ResourcesConfig) -> float:
    """Return the bytes that are free for a learner on this machine, one of a cluster's."""
    free = float(psutil.virtual_memory().available)
    return min(free, resources.learner.get("memory", free))


def simulator_bytes(env: BatchedEnv) -> int:
    """Return about what a replication takes: state, flows and what agents see."""
    env.reset(0)
    seen = 4 * env.observation_size * env.num_rows * env.batch_size
    return (2 * env.mark().nbytes + seen) // env.batch_size


def fragment_bytes(env: BatchedEnv, periods: int, value_columns: int = 8) -> int:
    """Return what a sampled fragment takes: observations, twice as they are handed on, and per row
    and period some columns of actions, rewards and values."""
    numbers = 2 * env.observation_size + value_columns + 3 * env.action_size
    return 4 * numbers * env.num_rows * env.batch_size * (periods + 1)


def require_room(what: str, needed: float, free: float, resources: ResourcesConfig) -> None:
    """Raise ConfigError unless what is needed is free, naming how many episodes would fit."""
    if needed <= free:
        return
    episodes = resources.envs_per_runner
    fits = int(episodes * free / needed)
    shares = " for each runner" if resources.runners > 1 else ""
    more = f"set resources.envs_per_runner={fits}" if fits else "take a machine with more memory"
    raise ConfigError(
        f"{what} of resources.envs_per_runner={episodes} episodes takes {needed / 1e9:.1f} GB; "
        f"{free / 1e9:.1f} GB are free{shares}; {more}, or fewer runners on a machine."
    )
