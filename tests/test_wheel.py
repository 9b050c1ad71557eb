"""What is packaged: the wheel holds exactly the application, and works outside the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import echelon
from tests.test_layering import imports_of, sources

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("conf", "envs", "evaluation", "serving", "training")
GENERATED = ("__pycache__", "*.pyc", "*.nbi", "*.nbc")


def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins() -> dict[str, Version]:
    """constraints.txt: distribution -> version."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {canonicalize_name(n): Version(v) for n, v in (line.split("==") for line in lines)}


def requirements() -> list[Requirement]:
    """Everything pyproject.toml asks for, extras included."""
    table = project()["project"]
    extras = [line for lines in table["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*table["dependencies"], *extras]]


def application_files() -> set[str]:
    """What belongs into a wheel, from the tree: all files of the packages, and `echelon.py`."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*"))
    kept = {
        file.relative_to(ROOT).as_posix()
        for file in files
        if file.is_file() and not any(file.match(p) for p in GENERATED[1:])
    }
    return {"echelon.py", *kept}


def run(command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed, without this process's Python settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done


def test_the_packages_are_listed_exactly() -> None:
    """A forgotten subpackage works in the checkout and is missing from the wheel."""
    found = {
        file.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
    }
    assert set(project()["tool"]["setuptools"]["packages"]) == found


def test_constraints_are_exact_and_fit_any_machine() -> None:
    """A local label such as +cpu would tie the file to one kind of build."""
    assert len(pins()) > 100
    assert [name for name, version in pins().items() if version.local] == []


def test_every_requirement_is_pinned_inside_its_range() -> None:
    """`make install` would stop at a pin that pyproject.toml excludes."""
    wrong = [
        f"{requirement}: pinned {pins().get(canonicalize_name(requirement.name))}"
        for requirement in requirements()
        if (pin := pins().get(canonicalize_name(requirement.name))) is None
        or pin not in requirement.specifier
    ]
    assert wrong == []


def test_every_import_is_a_declared_requirement() -> None:
    """What another library happens to bring today may be gone with its next version."""
    distributions = {
        "hydra": "hydra-core", "prometheus_client": "prometheus-client", "sklearn": "scikit-learn",
        "yaml": "pyyaml",
    }  # fmt: skip
    table = project()["project"]
    demo = [Requirement(line).name for line in table["optional-dependencies"]["demo"]]
    declared = {Requirement(line).name for line in table["dependencies"]} | set(demo)
    known = {*sys.stdlib_module_names, *PACKAGES, "echelon"}
    missing = [
        f"{path}:{line} {module}"
        for file in sources(ROOT)
        for path, line, module in imports_of(ROOT, file)
        if (name := module.split(".")[0]) not in known
        and distributions.get(name, name).replace("_py", "-py") not in declared
    ]
    assert missing == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves folders behind, and reads those it left before."""
    source = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(*GENERATED))
    for name in ("echelon.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    run([*command, "."], source)
    [built] = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the wheel in it, and the libraries of this one in reach.

    A path in a .pth file brings the libraries but runs no other .pth file, so that an editable
    installation of the checkout stays out.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    run([sys.executable, "-m", "venv", "--without-pip", "environment"], folder)
    python = folder / "environment" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    run([*pip, "install", "--no-deps", "--no-index", str(wheel)], folder)
    [site] = (folder / "environment").glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    return folder / "environment" / "bin"


@pytest.mark.nightly
def test_the_wheel_holds_the_application_and_nothing_else(wheel: Path) -> None:
    """No tests, no caches, no forgotten YAML."""
    metadata = f"echelon_rl-{echelon.__version__}.dist-info"
    names = {n for n in zipfile.ZipFile(wheel).namelist() if not n.startswith(f"{metadata}/")}
    assert names == application_files()
    assert {name.split("/")[0] for name in names} == {"echelon.py", *PACKAGES}
    assert any(re.fullmatch(r"conf/scenario/\w+\.yaml", name) for name in names)


@pytest.mark.nightly
def test_the_installed_packages_are_the_wheels(environment: Path, tmp_path: Path) -> None:
    """Not the checkout's, and not another distribution's of the same name."""
    code = (
        "import importlib, sys; print(*(importlib.import_module(n).__file__ for n in sys.argv[1:]))"
    )
    done = run([environment / "python", "-c", code, *PACKAGES, "echelon"], tmp_path)
    files = done.stdout.split()
    assert len(files) == len(PACKAGES) + 1
    assert all(Path(file).is_relative_to(environment.parent) for file in files)


@pytest.mark.nightly
def test_the_metadata_carry_the_version(environment: Path, tmp_path: Path) -> None:
    """One version, read from `echelon.py`."""
    code = "from importlib.metadata import version; print(version('echelon-rl'))"
    assert run([environment / "python", "-c", code], tmp_path).stdout.strip() == echelon.__version__
    assert run([environment / "echelon", "--version"], tmp_path).stdout.split() == [
        "echelon",
        echelon.__version__,
    ]


@pytest.mark.nightly
@pytest.mark.parametrize(
    "command", [[], ["train"], ["evaluate"], ["replay"], ["serve"]], ids=" ".join
)
def test_every_command_helps_outside_the_checkout(
    command: list[str], environment: Path, tmp_path: Path
) -> None:
    """From an empty folder, configuration files included."""
    done = run([environment / "echelon", *command, "--help"], tmp_path)
    assert done.stdout.startswith("usage: echelon") or f"usage: echelon {command[0]}" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.nightly
def test_a_wrong_key_is_refused_outside_the_checkout(environment: Path, tmp_path: Path) -> None:
    """Composing needs every configuration folder of the wheel; nothing is trained."""
    done = subprocess.run(
        [environment / "echelon", "train", "no_such_key=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("echelon train: error: ")
    assert done.stderr.count("\n") == 1
    assert "no_such_key" in done.stderr
