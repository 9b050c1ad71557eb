"""Memory that is not needed: what was freed is the system's again, networks are not copied."""

from __future__ import annotations

import copy
import sys

import psutil
import pytest

from conf.compose import compose
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from training.rllib.env_factory import ScenarioEnvFactory
from training.rllib.freed_memory import return_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_what_small_blocks_leave_is_returned() -> None:
    """The last block stands above the others, so that by itself the heap doesn't shrink."""
    process = psutil.Process()
    blocks = [bytearray(100_000) for _ in range(600)]
    last = blocks.pop()
    del blocks
    before = process.memory_info().rss
    return_freed_memory()
    assert before - process.memory_info().rss > 40_000_000
    assert len(last) == 100_000


def test_copies_of_a_configuration_share_the_scenario() -> None:
    """RLlib makes several, and each worker compiles what isn't compiled yet."""
    command = compose(EvaluateCommand, ["scenario=lost_sales", "smoke=true"]).command
    factory = ScenarioEnvFactory(build_scenario(command.scenario))
    assert copy.deepcopy({"env_factory": factory})["env_factory"] is factory
