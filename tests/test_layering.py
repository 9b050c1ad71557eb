"""Who may import whom: `envs <- evaluation <- training` and `envs <- evaluation <- serving`.

The imports are read from the sources, those inside functions and under TYPE_CHECKING included.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("conf", "envs", "evaluation", "serving", "training")

# The modules that may import a name, as paths from the root; `*` crosses folders.
# A package may always import itself.
ALLOWED = {
    # Our packages.
    "envs": ("*",),  # conf too: it knows none above
    "evaluation": ("training/*", "serving/*"),
    "training": (),
    "serving": (),
    "conf": ("*/commands/*", "serving/cli.py", "echelon.py"),
    "echelon": ("evaluation/*", "training/*", "serving/*"),  # for its version
    "tests": (),
    # Libraries that stay behind one door each.
    "torch": ("evaluation/*", "training/*", "serving/*"),
    "ray": ("training/*", "evaluation/ray_workers.py", "serving/app.py", "serving/cli.py"),
    "fastapi": ("serving/*",),
    "starlette": ("serving/*",),
    "mlflow": (
        "evaluation/tracking/mlflow_destination.py",
        "evaluation/artifact/registry.py",
        "evaluation/recommendation/mlflow_model.py",
    ),
    "hydra": ("conf/compose.py", "conf/arguments.py"),
    "omegaconf": ("conf/compose.py", "conf/arguments.py"),
}


class Import(NamedTuple):
    """path: of the importing module, from the root. line: 1, 2, ... module: its dotted name."""

    path: str
    line: int
    module: str


def imports_of(root: Path, file: Path) -> Iterator[Import]:
    """Every import statement of a file, and `import_module` or `__import__` of a literal name."""
    path = file.relative_to(root)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(path))):
        match node:
            case ast.Import():
                modules = [alias.name for alias in node.names]
            case ast.ImportFrom():
                package = path.parent.parts[: len(path.parent.parts) + 1 - node.level]
                modules = [".".join([*(package if node.level else ()), node.module or ""])]
            case ast.Call(
                func=ast.Attribute(attr="import_module")
                | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                modules = [name]
            case _:
                continue
        for module in modules:
            yield Import(path.as_posix(), node.lineno, module)


def sources(root: Path) -> list[Path]:
    """The files the rules apply to."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    return [*files, root / "echelon.py"]


def wrong_imports(root: Path) -> list[str]:
    """One line per import that goes against an arrow."""
    wrong = []
    for file in sources(root):
        for path, line, module in imports_of(root, file):
            name = module.split(".")[0]
            own = path.split("/")[0].removesuffix(".py")
            allowed = ALLOWED.get(name, ("*",))
            if name != own and not any(fnmatchcase(path, pattern) for pattern in allowed):
                wanted = ", ".join(allowed) or "no module"
                wrong.append(f"{path}:{line} imports {module}; allowed in: {wanted}")
    return wrong


def circles(root: Path) -> list[list[str]]:
    """Paths of files that import each other in a ring, directly or through others."""
    paths = {file.relative_to(root).as_posix() for file in sources(root)}

    def file_of(module: str) -> str | None:
        plain = module.replace(".", "/")
        found = {f"{plain}.py", f"{plain}/__init__.py"} & paths
        return found.pop() if found else None

    graph = {
        path: {target for name in names_of(root, path) if (target := file_of(name))} - {path}
        for path in paths
    }
    while leaves := {path for path, targets in graph.items() if not targets & graph.keys()}:
        graph = {path: targets for path, targets in graph.items() if path not in leaves}
    return [sorted([path, *(targets & graph.keys())]) for path, targets in sorted(graph.items())]


def names_of(root: Path, path: str) -> set[str]:
    """Dotted names of what a file imports: modules, and names that may be modules."""
    found = set()
    file = root / path
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = file.relative_to(root).parent.parts
            package = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def test_imports_form_no_circle() -> None:
    """File by file, imports inside functions and under TYPE_CHECKING included."""
    assert circles(ROOT) == []


@pytest.mark.parametrize(
    "sources_of",
    [
        pytest.param({"envs/a.py": "import envs.b", "envs/b.py": "import envs.a"}, id="two files"),
        pytest.param(
            {
                "envs/a.py": "from envs import b",
                "envs/b.py": "def f():\n    from envs.c import x",
                "envs/c.py": "if TYPE_CHECKING:\n    from . import a",
            },
            id="three files",
        ),
        pytest.param(
            {"envs/p/__init__.py": "from envs.p.a import x", "envs/p/a.py": "import envs.p"},
            id="through a package",
        ),
    ],
)
def test_a_circle_is_found(tmp_path: Path, sources_of: dict[str, str]) -> None:
    """Each kind, in a tree that has nothing else."""
    for path, source in sources_of.items():
        write(tmp_path, path, source)
    assert {path for ring in circles(tmp_path) for path in ring} == set(sources_of)


def test_no_import_goes_against_an_arrow() -> None:
    """The tree as it is."""
    wrong = wrong_imports(ROOT)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_rules_see_every_package(package: str) -> None:
    """A renamed or empty folder would pass the rules unread."""
    read = [file for file in sources(ROOT) if file.is_relative_to(ROOT / package)]
    assert any(list(imports_of(ROOT, file)) for file in read)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param("envs/network/network.py", "import torch", id="torch in envs"),
        pytest.param("envs/policies/base.py", "from ray import rllib", id="in a subpackage"),
        pytest.param("envs/network/network.py", "import numpy, ray", id="second in a line"),
        pytest.param("envs/network/network.py", "import mlflow.entities as m", id="renamed"),
        pytest.param("envs/cli.py", "from evaluation import rollout", id="envs to evaluation"),
        pytest.param("envs/cli.py", "import training", id="envs to training"),
        pytest.param(
            "envs/network/network.py", "import conf.compose", id="conf below the entry points"
        ),
        pytest.param(
            "envs/network/network.py", "from ...serving import app", id="relative, out of envs"
        ),
        pytest.param(
            "evaluation/comparison/rollout.py", "from training.rllib.ppo import P", id="to training"
        ),
        pytest.param(
            "evaluation/comparison/rollout.py", "import serving", id="evaluation to serving"
        ),
        pytest.param("evaluation/comparison/rollout.py", "import ray", id="ray in evaluation"),
        pytest.param("evaluation/workers.py", "import ray", id="ray in the workers' interface"),
        pytest.param("evaluation/comparison/tables.py", "import mlflow", id="mlflow in evaluation"),
        pytest.param("evaluation/comparison/tables.py", "import hydra", id="hydra in evaluation"),
        pytest.param("training/job/export.py", "import serving.app", id="training to serving"),
        pytest.param("training/job/export.py", "import mlflow", id="mlflow past its door"),
        pytest.param("training/config.py", "from omegaconf import MISSING", id="omegaconf"),
        pytest.param("serving/app.py", "from training import ppo", id="serving to training"),
        pytest.param("serving/live.py", "import ray.serve", id="ray past the thin app"),
        pytest.param(
            "evaluation/recommendation/recommender.py", "import fastapi", id="HTTP below serving"
        ),
        pytest.param("conf/compose.py", "import ray", id="ray in conf"),
        pytest.param("conf/compose.py", "import evaluation.tuning", id="conf to evaluation"),
        pytest.param("conf/compose.py", "from training import config", id="conf to training"),
        pytest.param("conf/compose.py", "import serving.config", id="conf to serving"),
        pytest.param(
            "echelon.py", "import training.commands.train", id="a command imported at once"
        ),
        pytest.param("training/config.py", "import tests.envs", id="tests"),
        pytest.param(
            "envs/network/network.py", "def f():\n    import torch", id="inside a function"
        ),
        pytest.param(
            "envs/network/network.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch",
            id="for types only",
        ),
        pytest.param("envs/a.py", "import importlib\nimportlib.import_module('ray')", id="by name"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, path: str, source: str) -> None:
    """Each rule, broken in a tree that is otherwise empty."""
    write(tmp_path, path, source)
    [line] = wrong_imports(tmp_path)
    assert line.startswith(f"{path}:{len(source.splitlines())} imports ")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "envs/network/network.py",
            "import numpy\nfrom . import state\nfrom envs.errors import DataError",
        ),
        ("envs/policies/base.py", "from ..network import Node"),
        ("evaluation/artifact/actor.py", "import torch\nfrom envs import network"),
        ("evaluation/commands/evaluate.py", "from conf.compose import compose_runs"),
        (
            "training/rllib/ppo.py",
            "import ray\nimport torch\nfrom evaluation.artifact.actor import Actor",
        ),
        ("evaluation/tracking/mlflow_destination.py", "from mlflow import MlflowClient"),
        ("serving/app.py", "from ray import serve\nimport evaluation.artifact.artifact"),
        ("evaluation/artifact/registry.py", "import mlflow"),
        ("evaluation/ray_workers.py", "import ray"),
        ("conf/compose.py", "import omegaconf\nfrom envs.scenarios import BUILDERS"),
    ],
)
def test_a_right_import_passes(tmp_path: Path, path: str, source: str) -> None:
    """The rules forbid no more than they say."""
    write(tmp_path, path, source)
    assert wrong_imports(tmp_path) == []


def write(root: Path, path: str, source: str) -> None:
    """Write one module into a tree that has nothing else but an empty `echelon.py`."""
    (root / "echelon.py").touch()
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source, encoding="utf-8")
