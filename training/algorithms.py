"""RLlib's configuration, through the options that Echelon names; nowhere else.

algorithm = build_algorithm(ScenarioEnvFactory(scenario), TrainingConfig(seed=3))
for _ in range(100):
    numbers = iteration_metrics(algorithm.train())
actors = trained_actors(algorithm)
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig as RLlibConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
    TIMERS,
)

from envs.errors import ConfigError
from evaluation.actor import Actor
from training.batched_runner import BatchedEnvRunner, RunnerSettings
from training.config import AlgorithmConfig, PathwiseConfig, PpoConfig, TrainingConfig
from training.env_factory import EnvFactory, without_packs
from training.modules import module_specs, node_spaces, row_spaces
from training.multi_agent_env import NodeAgentsEnv
from training.pathwise import PathwiseRLlibConfig
from training.ppo import BatchedPPOConfig

__all__ = ["build_algorithm", "configure", "iteration_metrics", "set_ppo", "trained_actors"]

_SAMPLING = (
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    "cost_per_period",
    "base_policy_cost_per_period",
    "cost_ratio_to_base_policy",
    "fill_rate",
    "shortage_price",
    "env_failures_lifetime",
)
_LEARNING = ("policy_loss", "vf_loss", "vf_explained_var", "entropy", "gradient_norm")


def configure(
    rllib: RLlibConfig, env_factory: EnvFactory, config: TrainingConfig, output: str = "batch"
) -> RLlibConfig:
    """Set what every algorithm needs on RLlib's configuration, and return it.

    Args:
        rllib: BatchedPPOConfig, or with another output any algorithm's configuration.
        env_factory: builds the simulator where it is sampled.
        config: our settings.
        output: "batch", or "episodes" of rows from our sampler, or "agents": whole nodes from
            RLlib's own sampler, some tens of times slower.
    """
    algorithm, resources = config.algorithm, config.resources
    env = env_factory(1)
    kind_of_agent = {
        env.agent_ids[int(node)]: group.name for group in env.groups for node in group.node_of_row
    }
    spaces = node_spaces(env) if output == "agents" else row_spaces(env)
    settings = RunnerSettings(env_factory, output, resources.threads, resources.env_failures)
    periods = resources.fragment_periods
    batch = periods * resources.envs_per_runner * max(1, resources.env_runners)
    rllib.environment(
        NodeAgentsEnv,
        env_config={
            "settings": settings,
            "empty_iterations": resources.empty_iterations,
            "restart_wait": resources.restart_wait,
            "reward": env.reward_config,
        },
        disable_env_checking=True,
    )
    rllib.framework("torch")
    rllib.env_runners(
        env_runner_cls=MultiAgentEnvRunner if output == "agents" else BatchedEnvRunner,
        num_env_runners=resources.env_runners,
        num_envs_per_env_runner=resources.envs_per_runner,
        rollout_fragment_length=periods,
        sample_timeout_s=resources.sample_timeout,
    )
    rllib.learners(
        num_learners=resources.learners,
        num_gpus_per_learner=resources.gpus_per_learner or float(resources.device == "cuda"),
    )
    rllib.multi_agent(
        policies=tuple(spaces), policy_mapping_fn=functools.partial(_kind_of, kind_of_agent)
    )
    rllib.rl_module(rl_module_spec=module_specs(spaces, config.model))
    rllib.fault_tolerance(
        restart_failed_env_runners=True,
        delay_between_env_runner_restarts_s=2.0,
        max_num_env_runner_restarts=20,
        restart_failed_sub_environments=True,
    )
    rllib.training(
        lr=algorithm.learning_rate,
        train_batch_size_per_learner=batch // max(1, resources.learners),
        grad_clip=algorithm.gradient_clip,
        grad_clip_by="global_norm",
    )
    rllib.debugging(seed=config.seed, log_level="ERROR")
    return rllib


def _kind_of(kind_of_agent: Mapping[str, str], agent_id: str, *_: Any, **__: Any) -> str:
    return kind_of_agent[agent_id]


def build_algorithm(env_factory: EnvFactory, config: TrainingConfig) -> Algorithm:
    """An algorithm ready to train; starts Ray only if runners or learners are remote.

    Raises:
        ConfigError: a GPU is asked for and there is none.
    """
    torch.set_num_threads(config.resources.threads)
    resources = config.resources
    if resources.device == "cuda" and not resources.learners and not torch.cuda.is_available():
        raise ConfigError(
            "resources.device is cuda, but torch finds no GPU on this machine; expected one; set "
            "resources.device=cpu, or install a torch built for this GPU's driver"
        )
    make, fill = _ALGORITHMS[type(config.algorithm)]
    if isinstance(config.algorithm, PathwiseConfig) and not config.algorithm.whole_packs:
        env_factory = without_packs(env_factory)
    rllib = configure(make(), env_factory, config)
    fill(rllib, config)
    return rllib.build_algo()


def set_ppo(rllib: PPOConfig, config: TrainingConfig) -> None:
    """Set what PPO alone needs; RLlib's own PPO takes it too."""
    algorithm = config.algorithm
    assert isinstance(algorithm, PpoConfig)
    rllib.training(
        gamma=algorithm.discount,
        lambda_=algorithm.gae_lambda,
        clip_param=algorithm.clip,
        num_epochs=algorithm.epochs,
        minibatch_size=algorithm.minibatch_rows,
        entropy_coeff=algorithm.entropy_weight,
        vf_loss_coeff=algorithm.value_weight,
        vf_clip_param=math.inf,
        use_kl_loss=False,
        shuffle_batch_per_epoch=True,
    )


def _set_pathwise(rllib: PathwiseRLlibConfig, config: TrainingConfig) -> None:
    algorithm = config.algorithm
    assert isinstance(algorithm, PathwiseConfig)
    rllib.trajectory_periods, rllib.tail_periods = algorithm.periods, algorithm.tail
    rllib.final_share = algorithm.final_share


# By the type of their settings: RLlib's configuration, and what fills it. Add an algorithm here,
# its settings in training/config.py and conf/schemas.py, its YAML in conf/algorithm/.
_ALGORITHMS: dict[type[AlgorithmConfig], tuple[Callable[[], Any], Callable[..., None]]] = {
    PpoConfig: (BatchedPPOConfig, set_ppo),
    PathwiseConfig: (PathwiseRLlibConfig, _set_pathwise),
}


def iteration_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """The chosen few of algorithm.train()'s numbers, as group/name, finite ones only."""
    sampled, learned = result.get(ENV_RUNNER_RESULTS, {}), result.get(LEARNER_RESULTS, {})
    numbers: dict[str, Any] = {f"sampling/{name}": sampled.get(name) for name in _SAMPLING}
    for name in (NUM_AGENT_STEPS_SAMPLED_LIFETIME, NUM_MODULE_STEPS_SAMPLED_LIFETIME):
        numbers[f"sampling/{name}"] = sum(sampled.get(name, {}).values())
    for kind, reward in sampled.get("reward_per_period", {}).items():
        numbers[f"reward/{kind}"] = reward
    for kind, values in learned.items():
        if kind != ALL_MODULES:
            numbers |= {f"learner/{kind}_{name}": values.get(name) for name in _LEARNING}
    for name in (ENV_RUNNER_SAMPLING_TIMER, LEARNER_UPDATE_TIMER):
        numbers[f"time/{name}_seconds"] = result.get(TIMERS, {}).get(name)
    finite = {name: float(value) for name, value in numbers.items() if value is not None}
    return {name: value for name, value in finite.items() if math.isfinite(value)}


def trained_actors(algorithm: Algorithm) -> dict[str, Actor]:
    """Copies of the networks that act, by node kind: what the artifact holds."""
    state = algorithm.learner_group.get_state(
        components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=False
    )[COMPONENT_LEARNER][COMPONENT_RL_MODULE]
    actors: dict[str, Actor] = {}
    for kind, weights in state.items():
        actor = copy.deepcopy(algorithm.get_module(kind).actor)
        prefix = "actor."
        actor.load_state_dict(
            {
                name.removeprefix(prefix): torch.tensor(values)
                for name, values in weights.items()
                if name.startswith(prefix)
            }
        )
        actors[kind] = actor.eval()
    return actors
