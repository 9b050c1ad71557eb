"""RLlib's configuration, through the options that Echelon names; nowhere else.

run = compose(TrainCommand, ["scenario=serial", "algorithm=ppo"]).command
config = TrainingConfig(run.algorithm, run.model, run.resources, seed=3)
algorithm = build_algorithm(ScenarioEnvFactory(build_scenario(run.scenario)), config)
for _ in range(100):
    numbers = iteration_metrics(algorithm.train())
actors = trained_actors(algorithm)
"""

from __future__ import annotations

import copy
import functools
import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig as RLlibConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner import Learner
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
from evaluation.artifact.actor import Actor
from training.config import TrainingConfig
from training.rllib.algorithms import check_capabilities
from training.rllib.batched_runner import BatchedEnvRunner
from training.rllib.env_factory import EnvFactory
from training.rllib.learners import on_learners
from training.rllib.memory import fragment_bytes, free_for_each, require_room, simulator_bytes
from training.rllib.modules import module_specs, node_spaces, row_spaces
from training.rllib.multi_agent_env import SupplyChainMultiAgentEnv
from training.rllib.placement import require_nodes
from training.rllib.remote_runners import RUNNERS
from training.rllib.trajectory_runner import TrajectoryRunner

_SAMPLING = (
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    "cost_per_period",
    "base_policy_cost_per_period",
    "cost_ratio_to_base_policy",
    "fill_rate",
    "shortage_price",
    "env_failures_lifetime",
)
_RUNNERS = {"agents": MultiAgentEnvRunner, "slopes": TrajectoryRunner}
_LEARNING = ("policy_loss", "vf_loss", "vf_explained_var", "entropy", "gradient_norm")


def configure(
    rllib: RLlibConfig,
    env_factory: EnvFactory,
    config: TrainingConfig,
    output: str | None = None,
) -> RLlibConfig:
    """Set what every algorithm needs on RLlib's configuration, and return it.

    Args:
        rllib: an algorithm's configuration.
        env_factory: builds the simulator where it is sampled.
        config: our settings.
        output: "batch", "episodes" of rows or "slopes" from our runners, or "agents": whole nodes
            from RLlib's own sampler, some tens of times slower. None: what the algorithm learns
            from.

    Raises:
        ConfigError: what is set doesn't go together, or takes more memory than is free.
    """
    output = output or config.algorithm.samples
    algorithm, resources = config.algorithm, config.resources
    env = env_factory(1)
    kind_of_agent = {
        env.agent_ids[int(node)]: group.name for group in env.groups for node in group.node_of_row
    }
    spaces = node_spaces(env) if output == "agents" else row_spaces(env)
    is_ours = output in ("batch", "slopes")
    periods = resources.fragment_periods
    envs = algorithm.envs_at_once(env.num_rows, resources)
    batch = periods * envs * max(1, resources.runners)
    rllib.environment(
        SupplyChainMultiAgentEnv,
        env_config={
            "env_factory": env_factory,
            "output": output,
            "resources": resources,
            "reward": env.reward_config,
            "spaces": spaces,
        },
        disable_env_checking=True,
    )
    rllib.framework("torch")
    rllib.env_runners(
        env_runner_cls=_RUNNERS.get(output, BatchedEnvRunner),
        # Ours starts them itself: RLlib would wait until all are there.
        num_env_runners=0 if is_ours else resources.runners,
        num_cpus_per_env_runner=resources.cpus_per_runner,
        num_gpus_per_env_runner=resources.gpus_per_runner,
        num_envs_per_env_runner=envs,
        rollout_fragment_length=periods,
        sample_timeout_s=resources.sample_timeout,
    )
    rllib.learners(
        num_learners=resources.learners,
        num_cpus_per_learner=1,
        num_gpus_per_learner=resources.learner.get("GPU", 0.0),
        custom_resources_per_learner={
            name: amount for name, amount in resources.learner.items() if name == "memory"
        },
    )
    rllib.multi_agent(
        policies=tuple(spaces), policy_mapping_fn=functools.partial(_kind_of, kind_of_agent)
    )
    rllib.rl_module(rl_module_spec=module_specs(env, spaces, config.model))
    rllib.fault_tolerance(
        restart_failed_env_runners=True,
        delay_between_env_runner_restarts_s=2.0,
        max_num_env_runner_restarts=1000,
        restart_failed_sub_environments=True,
    )
    rllib.training(
        lr=algorithm.learning_rate,
        train_batch_size_per_learner=batch // max(1, resources.learners),
        grad_clip=algorithm.gradient_clip,
        grad_clip_by="global_norm",
    )
    rllib.debugging(seed=config.seed, log_level="ERROR")
    here = free_for_each(resources, is_remote=False)
    is_cluster = bool(os.environ.get("RAY_ADDRESS"))
    if output == "batch" and resources.runners:
        # Of all runners, once more where they are merged: a share for each learner.
        fragments = 2 * envs * resources.runners * fragment_bytes(env, periods)
        if is_cluster and resources.learners:  # each looks at its own machine
            rllib.environment(env_config={"learner_bytes": fragments // resources.learners})
        else:
            require_room("the batch of all runners", fragments, here, resources)
    if not (resources.runners and is_cluster):  # each runner looks at its own machine
        simulators = envs * max(1, resources.runners) * simulator_bytes(env)
        require_room("the simulators", simulators, here, resources)
    return rllib


def _kind_of(kind_of_agent: Mapping[str, str], agent_id: str, *_: Any, **__: Any) -> str:
    return kind_of_agent[agent_id]


def build_algorithm(env_factory: EnvFactory, config: TrainingConfig) -> Algorithm:
    """An algorithm ready to train; starts Ray only if runners or learners are remote.

    Raises:
        ConfigError: a GPU is set and there is none, or the algorithm can't do what is set.
    """
    torch.set_num_threads(config.resources.threads)
    require_nodes(config.resources)
    algorithm = config.algorithm
    factory = algorithm.env_factory(env_factory)
    algorithm.check_problem(factory)
    rllib = configure(algorithm.build(config), factory, config)
    check_capabilities(algorithm, config.resources, rllib.env_config["reward"])
    return rllib.build_algo()


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
    numbers |= {f"cluster/{name}": value for name, value in result.get(RUNNERS, {}).items()}
    for name in (ENV_RUNNER_SAMPLING_TIMER, LEARNER_UPDATE_TIMER):
        numbers[f"time/{name}_seconds"] = result.get(TIMERS, {}).get(name)
    finite = {name: float(value) for name, value in numbers.items() if value is not None}
    return {name: value for name, value in finite.items() if math.isfinite(value)}


def trained_actors(algorithm: Algorithm) -> dict[str, Actor]:
    """Copies of the models that act, by node kind: what the artifact holds."""
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
        actors[kind] = actor.cpu().eval()
    return actors


def set_actors(algorithm: Algorithm, actors: Mapping[str, Actor]) -> None:
    """Let the models that act be these from now on, on learners and runners; critics stay.

    Raises:
        ConfigError: a node kind has none, or one of another form.
    """
    for kind, own in trained_actors(algorithm).items():
        if kind not in actors:
            raise ConfigError(
                f"there is no model for node kind '{kind}'; expected one for each; got "
                f"{', '.join(sorted(actors))}; start from a policy trained with this kind"
            )
        got, wanted = _form(actors[kind]), _form(own)
        if got != wanted:
            raise ConfigError(
                f"the model for node kind '{kind}' is {got}; expected {wanted}; set model to "
                "what it was trained with"
            )
    weights = {kind: actor.state_dict() for kind, actor in actors.items()}
    on_learners(algorithm, functools.partial(_set_actors, weights=weights))
    runners = algorithm.env_runner_group
    if runners is not None:
        runners.sync_weights(from_worker_or_learner_group=algorithm.learner_group)


def _form(actor: Actor) -> str:
    shapes = (f"{name} {list(tensor.shape)}" for name, tensor in actor.state_dict().items())
    return f"{actor.form} with {', '.join(shapes)}"


def _set_actors(learner: Learner, weights: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
    for kind, tensors in weights.items():
        module = learner.module[kind].unwrapped()
        module.actor.load_state_dict(tensors)
        if hasattr(module, "target_actor"):  # APPO's, which follows slowly
            module.target_actor.load_state_dict(tensors)
