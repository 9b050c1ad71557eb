"""The alpha parts of Ray that training/ stands on: present, with the parameters we pass.

A new Ray minor version is taken up when this and the other tests of training/ pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.tune.execution.class_cache import _ActorClassCache

from training.rllib.batched_runner import BatchedEnvRunner
from training.rllib.ppo import BatchedPPO, BatchedPPOConfig
from training.rllib.ppo_learner import BatchedPPOLearner
from training.studies.sweep import keep_credentials_out


def test_the_minor_version_is_the_one_verified() -> None:
    """Alpha APIs change with it."""
    assert ray.__version__.startswith("2.60.")


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (EnvRunner.__init__, {"config"}),
        (Algorithm.setup, {"config"}),
        (PPO.training_step, set()),
        (Algorithm.get_state, set()),
        (Algorithm.set_state, {"state"}),
        (AlgorithmConfig.get_multi_rl_module_spec, {"spaces", "inference_only"}),
        (AlgorithmConfig.get_rollout_fragment_length, {"worker_index"}),
        (AlgorithmConfig.multi_agent, {"policies", "policy_mapping_fn"}),
        (AlgorithmConfig.rl_module, {"rl_module_spec"}),
        (AlgorithmConfig.build_learner_group, {"rl_module_spec", "placement_group"}),
        (AlgorithmConfig.learners, {"num_cpus_per_learner", "custom_resources_per_learner"}),
        (
            AlgorithmConfig.env_runners,
            {"env_runner_cls", "num_env_runners", "num_envs_per_env_runner", "sample_timeout_s"},
        ),
        (
            EnvRunnerGroup.foreach_env_runner,
            {"func", "local_env_runner", "remote_worker_ids", "timeout_seconds"},
        ),
        (EnvRunnerGroup.add_workers, {"num_workers", "validate"}),
        (EnvRunnerGroup.healthy_worker_ids, set()),
        (EnvRunnerGroup.num_remote_workers, set()),
        (LearnerGroup.update, {"training_data", "timesteps"}),
        (LearnerGroup.get_state, {"components"}),
        (LearnerGroup.foreach_learner, {"func"}),
        (Learner.update, {"num_epochs", "num_total_minibatches"}),
        (
            Learner._create_iterator_if_necessary,
            {"training_data", "num_total_minibatches", "num_epochs", "minibatch_size"},
        ),
        (Learner._make_batch_if_necessary, {"training_data"}),
        (TrainingData.shard, {"num_shards"}),
        (Learner._log_steps_trained_metrics, {"batch"}),
        (Learner._log_metrics, {"batch"}),
        (ValueFunctionAPI.compute_values, {"batch", "embeddings"}),
        (MetricsLogger.log_value, {"key", "value", "reduce", "window"}),
        (MetricsLogger.aggregate, {"key"}),
        (Checkpointable._check_component, {"name", "components", "not_components"}),
        (
            SingleAgentEpisode.__init__,
            {"observations", "actions", "rewards", "infos", "extra_model_outputs", "truncated",
             "t_started", "len_lookback_buffer", "agent_id", "module_id", "multi_agent_episode_id"},
        ),
        (InfiniteLookbackBuffer.__init__, {"data"}),
    ],
)  # fmt: skip
def test_a_member_takes_what_we_pass(function: Callable[..., Any], parameters: set[str]) -> None:
    """By these names."""
    assert parameters <= set(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("ours", "base", "names"),
    [
        (
            BatchedEnvRunner,
            EnvRunner,
            ["make_env", "make_module", "get_spaces", "assert_healthy", "stop", "get_metrics"],
        ),
        (BatchedEnvRunner, Checkpointable, ["get_state", "set_state"]),
        (
            BatchedPPOLearner,
            PPOTorchLearner,
            [
                "build",
                "_create_iterator_if_necessary",
                "_log_metrics",
                "_log_steps_trained_metrics",
                "_uncompiled_update",
                "configure_optimizers_for_module",
            ],
        ),
        (BatchedPPOConfig, PPOConfig, ["validate", "get_default_learner_class"]),
        (
            BatchedPPO,
            PPO,
            ["setup", "training_step", "get_state", "set_state", "get_auto_filled_metrics"],
        ),
    ],
)
def test_what_we_override_exists_with_parameters_we_accept(
    ours: type, base: type, names: list[str]
) -> None:
    """A renamed base method would leave ours uncalled, without an error."""
    for name in names:
        assert name in vars(ours), f"{ours.__name__}.{name} is not overridden"
        theirs = inspect.signature(getattr(base, name)).parameters
        accepted = inspect.signature(getattr(ours, name)).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
        assert takes_all or set(theirs) <= set(accepted), name


def test_ppo_alone_decides_by_training_step() -> None:
    """Losses stay RLlib's; checkpoints too, with one number more."""
    assert {
        name for name in vars(BatchedPPO) if hasattr(PPO, name) and not name.startswith("_")
    } == {
        "setup",
        "training_step",
        "get_state",
        "set_state",
        "get_auto_filled_metrics",
    }
    for name in ("compute_loss_for_module", "compute_gradients", "apply_gradients", "update"):
        assert name not in vars(BatchedPPOLearner)


def test_tune_sends_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray writes what it sends into the logs of its nodes."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "pl4nted")
    keep_credentials_out()
    sent = _ActorClassCache().get(type("Trainable", (), {}))._default_options
    assert sent["runtime_env"]["env_vars"]
    assert "pl4nted" not in str(sent)
