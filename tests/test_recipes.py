"""README's recipes ("Add your own") and docs/how_to/add_a_feature.md, followed word for word in a
copy of the source tree: what was added trains, is exported, and the exported policy answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("conf", "envs", "evaluation", "serving", "training")

pytestmark = pytest.mark.nightly  # a training in a process of its own: half a minute each

# Plays the exported policy: orders for the first stocked pair of its network.
_ANSWER = """
import sys
from pathlib import Path
from evaluation.artifact.artifact import load_artifact
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.schemas import RecommendationRequest, StockLevel
recommender = Recommender(load_artifact(Path(sys.argv[1])))
first = recommender.scenario.network.stocks[0]
stock = [StockLevel(location=first.node, item=first.sku, on_hand=0.0)]
answer = recommender.recommend(RecommendationRequest(stock=stock))
print(sum(line.quantity for line in answer.lines))
"""


class Tree:
    """A copy of the product's sources, to follow a recipe in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for package in PACKAGES:
            shutil.copytree(ROOT / package, root / package)
        shutil.copy2(ROOT / "echelon.py", root)

    def write(self, path: str, text: str) -> None:
        """Add a file."""
        assert not (self.root / path).exists(), f"{path} is in the tree already"
        (self.root / path).write_text(text, encoding="utf-8")

    def insert(self, path: str, mark: str, line: str, *, before: bool = False) -> None:
        """Add lines behind (or before) the first line that begins with `mark`."""
        lines = (self.root / path).read_text(encoding="utf-8").splitlines()
        place = next(i for i, text in enumerate(lines) if text.startswith(mark))
        lines.insert(place + (not before), line)
        (self.root / path).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def python(self, *arguments: str) -> str:
        """Run Python in the tree; returns what it printed."""
        environment = {**os.environ, "PYTHONPATH": str(self.root)}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def train(self, *arguments: str) -> str:
        """A smoke run of `echelon train`, its policy in run/policy; returns what it printed."""
        quiet = ("smoke=true", "tracking.enabled=false", "register=false", "out=run")
        return self.python("-m", "echelon", "train", *arguments, *quiet)

    def ordered(self) -> float:
        """Units that the exported policy orders for a network without any stock."""
        return float(self.python("-c", _ANSWER, "run/policy"))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Without the recipe's files."""
    return Tree(tmp_path / "tree")


def test_algorithm(tree: Tree) -> None:
    """One file, one line in `ALGORITHMS`, one YAML: RLlib's own PPO, as it is."""
    tree.write(
        "training/rllib/algorithms/plain_ppo.py",
        '''"""RLlib's own PPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.config import AlgorithmConfig, TrainingConfig


@dataclass(frozen=True)
class PlainPpoConfig(AlgorithmConfig):
    """PPO as RLlib has it."""

    discount: float = 0.9  # per period

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("discount", 0.0, 0.9999)

    def build(self, config: TrainingConfig) -> Any:
        """RLlib's own."""
        from ray.rllib.algorithms.ppo import PPOConfig

        return PPOConfig().training(gamma=self.discount, num_epochs=2, minibatch_size=32)
''',
    )
    registry = "training/rllib/algorithms/__init__.py"
    tree.insert(registry, "ALGORITHMS", '    "plain_ppo": PlainPpoConfig,')
    tree.insert(
        registry, "from training.rllib.algorithms.pathwise",
        "from training.rllib.algorithms.plain_ppo import PlainPpoConfig",
    )  # fmt: skip
    tree.write(
        "conf/algorithm/plain_ppo.yaml",
        """# PPO as RLlib has it.
defaults:
  - schema_plain_ppo
  - _self_

# Adam step size.
learning_rate: 1.0e-3
# Per period.
discount: 0.95
# Largest norm of a gradient.
gradient_clip: 1.0
# Sample-then-learn rounds at most.
iterations: 60
""",
    )
    printed = tree.train("scenario=single_backlog", "algorithm=plain_ppo")
    assert "3 iterations" in printed
    assert "discount: 0.95" in (tree.root / "run" / "config.yaml").read_text(encoding="utf-8")
    assert tree.ordered() > 0.0


def test_scenario(tree: Tree) -> None:
    """One YAML, begun as a copy of assembly.yaml."""
    text = (ROOT / "conf" / "scenario" / "assembly.yaml").read_text(encoding="utf-8")
    mine = text.replace("name: assembly", "name: tea_shop").replace("machine", "tea_box")
    tree.write("conf/scenario/tea_shop.yaml", mine)
    tree.train("scenario=tea_shop")
    assert tree.ordered() > 0.0


def test_policy(tree: Tree) -> None:
    """One file, one line in `POLICIES`, `base_policy` in a YAML: tuned, trained by slopes, served.

    Its orders follow the echelon position, which no list but the class itself says.
    """
    tree.write(
        "envs/policies/careful_chain.py",
        '''"""Echelon base-stock with levels of whole safety factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.policies.base import Follows, Parameter, Policy, Target, View


class CarefulChain(Policy):
    """order = mean demand of the way down + factor x its spread - echelon position."""

    name: ClassVar[str] = "careful_chain"
    follows = Follows.echelon_inventory_position

    @classmethod
    def tunable(cls, net: CompiledNetwork) -> dict[str, Parameter]:
        ones = np.ones(len(net.demand.mean))
        return {"factor": Parameter(1.5 * ones, 0.5 * ones)}

    def __init__(self, net: CompiledNetwork, parameters: Mapping[str, Any]) -> None:
        periods = (net.leads.path + net.review)[:, None]
        mean, sd = net.demand.mean[:, None], net.demand.sd[:, None]
        self._level = mean * periods + parameters["factor"] * sd * np.sqrt(periods)

    def target(self, view: View) -> Target:
        return Target(self._level - view.state.echelon_inventory_position)
''',
    )
    registry = "envs/policies/__init__.py"
    tree.insert(
        registry, "from envs.policies.capped_base_stock",
        "from envs.policies.careful_chain import CarefulChain",
    )  # fmt: skip
    tree.insert(registry, "        CappedBaseStock,", "        CarefulChain,")
    text = (ROOT / "conf" / "scenario" / "serial.yaml").read_text(encoding="utf-8")
    head, _, tail = text.replace("name: serial", "name: careful").partition("policy_params:")
    mine = head.replace("base_policy: echelon_base_stock", "base_policy: careful_chain")
    tree.write("conf/scenario/careful.yaml", mine + tail[tail.index("smoke:") :])
    tuned = tree.python(
        "-m", "echelon", "tune", "scenario=careful", "smoke=true", "tracking.enabled=false",
        "workers=1", "out=tuned",
    )  # fmt: skip
    assert "careful_chain" in tuned
    tree.train("scenario=careful")
    assert tree.ordered() > 0.0


def test_demand_process(tree: Tree) -> None:
    """One class and one line in `PROCESSES`; a YAML says `distribution: binomial`."""
    tree.insert(
        "envs/network/demand.py",
        "# The one registry",
        '''@dataclass(frozen=True)
class Binomial:
    """Twice the mean in trials, each of which asks for a unit with probability one half."""

    mean: float

    def distribution(self, factor: float) -> Any:
        """Whole units."""
        trials = max(1, round(2.0 * self.mean * factor))
        return stats.binom(trials, min(1.0, self.mean * factor / trials))


''',
        before=True,
    )
    tree.insert("envs/network/demand.py", '    "poisson": Poisson,', '    "binomial": Binomial,')
    text = (ROOT / "conf" / "scenario" / "single_backlog.yaml").read_text(encoding="utf-8")
    assert "distribution: poisson" in text
    mine = text.replace("distribution: poisson", "distribution: binomial")
    tree.write("conf/scenario/coins.yaml", mine.replace("name: single_backlog", "name: coins"))
    tree.python("-m", "echelon", "show", "scenario=coins", "smoke=true")
    tree.python("-m", "echelon", "bound", "scenario=coins", "smoke=true")
    tree.train("scenario=coins")
    assert tree.ordered() > 0.0


def test_feature(tree: Tree) -> None:
    """An entry of the table, its writer, its slope, its name among the tests' own: one that moves,
    one that never changes. They pass those tests, and a policy trains and answers with them."""
    table = "envs/observation/features.py"
    tree.insert(
        table, "class Scale(StrEnum)",
        """def _review(net: CompiledNetwork) -> Floats:
    return np.asarray(net.review, float)

""",
        before=True,
    )  # fmt: skip
    tree.insert(
        table, "    demand_cv:",
        """    inventory_position: Annotated[int, Feature(scale=Scale.signed, slope=True)]
    review: Annotated[int, Feature(scale=Scale.none, fixed=_review)]""",
    )  # fmt: skip
    put = "            _put(target[p, lo:hi], scale, out[at.base_order, lo:hi])"
    seen = "state.inventory_position[p, lo:hi], scale, out[at.inventory_position, lo:hi]"
    tree.insert("envs/observation/pairs.py", put, f"            _put_signed({seen})")
    backwards = "envs/observation/slopes.py"
    column, by = "seen[arrays.at.inventory_position, lo:hi]", "by[at.inventory_position, lo:hi]"
    tree.insert(
        backwards, "            if at.owed_by_me >= 0:",
        f"""            _by_units({column}, {by}, scale, unit)
            add_scaled(slopes.inventory_position[p, lo:hi], 1.0, unit)
""",
        before=True,
    )  # fmt: skip
    tree.insert(backwards, '    "on_hand", "backorders",', '    "inventory_position",')
    shutil.copytree(ROOT / "tests", tree.root / "tests")
    shutil.copy2(ROOT / "pyproject.toml", tree.root)
    names = '    "critical_ratio", "lead_time", "lead_time_sd", "demand_cv",'
    tree.insert("tests/envs/test_features.py", names, '    "inventory_position", "review",')
    slopes = "tests/envs/test_reverse.py::test_features_move_as_their_slopes_say"
    tree.python("-m", "pytest", "-q", "tests/envs/test_features.py", slopes)
    tree.train("scenario=single_backlog")
    manifest = json.loads((tree.root / "run/policy/manifest.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in manifest["observation"]][-2:] == ["inventory_position", "review"]
    assert tree.ordered() > 0.0
