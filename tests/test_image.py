"""The Dockerfile: its steps, run one after the other in a clean folder: no engine is needed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What the image's folders are called: each becomes one below the folder of its stage.
PLACES = re.compile(r"""(?<![\w.$/:}])/(?=(?:tmp|source|wheels|opt|home|runs)(?:[/\s"'*]|$))""")


def instructions() -> list[tuple[str, str]]:
    """(word, rest) of every instruction, continued lines in one."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


class Image:
    """What the Dockerfile builds, as folders.

    Python is an environment of its own in which this one's libraries count as installed, so that
    pip has nothing to fetch. Users are not made: only their rights on files are checked.
    """

    def __init__(self, folder: Path, arguments: dict[str, str]) -> None:
        self.folder, self._arguments = folder, arguments
        self._stages: dict[str, Path] = {}
        self._programs = folder / "programs"
        self._make_python()
        self.root, self.work, self.user = folder, folder, ""
        self.variables: dict[str, str] = {}
        self.command: list[str] = []
        for word, rest in instructions():
            getattr(self, f"_{word.lower()}")(rest)

    def _make_python(self) -> None:
        environment = self.folder / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        libraries = self.folder / "libraries"
        libraries.mkdir()
        for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
            if "echelon" not in path.name.lower():  # the checkout is not installed there
                (libraries / path.name).symlink_to(path)
        [site] = environment.glob("lib/python*/site-packages")
        (site / "libraries.pth").write_text(f"{libraries}\n", encoding="utf-8")
        self._programs.mkdir()
        for name, script in {"pip": 'exec python -m pip "$@"', "useradd": 'mkdir -p "$HOME_OF"',
                             "chown": "true"}.items():  # fmt: skip
            (self._programs / name).write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
            (self._programs / name).chmod(0o755)

    def here(self, text: str) -> str:
        """Text with the image's folders where they are built."""
        return PLACES.sub(f"{self.root}/", text)

    def run(self, script: str) -> str:
        """Run a script in the image, successfully; returns what it printed."""
        kept = {
            k: os.environ[k]
            for k in ("LANG", "PIP_INDEX_URL", "PIP_CONFIG_FILE")
            if k in os.environ
        }
        path = f"{self.folder}/python/bin:{self._programs}:{os.environ['PATH']}"
        own = {"PATH": path, "HOME_OF": f"{self.root}/home/echelon", "HOME": str(self.folder)}
        done = subprocess.run(
            ["bash", "-c", self.here(script)], cwd=self.work, env={**kept, **own, **self.variables},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout

    def _from(self, rest: str) -> None:
        name = rest.partition(" AS ")[2] or "last"
        self.root = self.work = self._stages[name] = self.folder / name
        for place in ("tmp", "home", "opt"):
            (self.root / place).mkdir(parents=True)
        self.variables = {}

    def _arg(self, rest: str) -> None:
        [(name, value)] = [word.split("=", 1) for word in shlex.split(rest)]
        self.variables[name] = self._arguments.get(name, value)

    def _env(self, rest: str) -> None:
        for word in shlex.split(rest):
            name, value = word.split("=", 1)
            value = re.sub(r"\$(\w+)", lambda found: self.variables[found[1]], value)
            self.variables[name] = self.here(value)

    def _workdir(self, rest: str) -> None:
        self.work = Path(self.here(rest))
        self.work.mkdir(parents=True, exist_ok=True)

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        place = Path(self.here(target)) if target != "." else self.work
        place.mkdir(parents=True, exist_ok=True)
        if sources[0].startswith("--from="):
            stage = self._stages[sources.pop(0).partition("=")[2]]
            shutil.copytree(stage / sources[0].lstrip("/"), place, dirs_exist_ok=True)
            return
        kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
        dropped = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
        for name in kept if sources == ["."] else sources:
            assert name in kept, f"{name} is not in .dockerignore"
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, place / name, ignore=dropped)
            else:
                shutil.copy(ROOT / name, place)

    def _run(self, rest: str) -> None:
        self.run(rest)

    def _user(self, rest: str) -> None:
        self.user = rest

    def _expose(self, rest: str) -> None:
        assert {int(port) for port in rest.split()} >= {8000, 8265}

    def _cmd(self, rest: str) -> None:
        self.command = json.loads(rest)


def test_kuberay_can_start_it() -> None:
    """It replaces the command by one of bash: no entry point stands in the way, and the user is a
    number that isn't root's, in the group that may write."""
    words = dict(instructions())
    assert "ENTRYPOINT" not in words
    assert re.fullmatch(r"[1-9]\d+:0", words["USER"])
    assert "slim" in words["FROM"], "Debian's, which has bash"
    ports = (ROOT / "conf" / "cluster" / "pod.yaml").read_text(encoding="utf-8")
    assert f"runAsUser: {words['USER'].partition(':')[0]}\n" in ports


@pytest.mark.nightly
def test_its_steps_work(tmp_path: Path) -> None:
    """Compiled kernels are there for whatever user; what a command writes is in /runs."""
    image = Image(tmp_path, {"WARM": "lost_sales"})
    kernels = Path(image.variables["NUMBA_CACHE_DIR"])
    compiled = sorted(kernels.rglob("*.nbc"))
    assert len(compiled) > 50
    for path in (kernels, *kernels.rglob("*")):
        assert path.stat().st_mode & 0o006 == 0o006, f"{path} is not for every user"
    for path in (image.root / "home" / "echelon", image.root / "runs"):
        mode = path.stat().st_mode
        assert (mode >> 3) & 7 == (mode >> 6) & 7, f"{path} is not for group 0"
    assert "usage: echelon" in image.run(shlex.join(image.command))
    assert "6 of 6 compiled" in image.run("echelon doctor")
    image.run("echelon tune scenario=lost_sales smoke=true policies=[base_stock]")
    assert {path.name for path in image.work.iterdir()} == {"mlflow.db", "mlruns", "outputs"}
    assert image.work == image.root / "runs"
    assert sorted(kernels.rglob("*.nbc")) == compiled, "something was compiled anew"
    assert "demo" not in image.run("echelon show scenario=retail smoke=true")
