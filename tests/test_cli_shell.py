"""The `echelon` command around its commands: help, dispatch, errors on one line, exit codes."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import echelon

ROOT = Path(__file__).resolve().parents[1]

# What a command's code may run into, each with a real error of the library that raises it.
# `arguments` makes the command fail with it.
COMMAND = """
from envs.errors import ConfigError


def run(arguments: list[str]) -> int:
    kind, *rest = arguments
    if kind == "ok":
        print("arguments:", *rest)
        return int(rest[-1])
    if kind == "echelon":
        raise ConfigError("gamma is 1.5;\\n  expected a number in [0, 1).")
    if kind == "omegaconf":
        from omegaconf import OmegaConf
        config = OmegaConf.create({"algorithm": {"gamma": 0.9}})
        OmegaConf.set_struct(config, True)
        config.algorithm.gama = 0.5
    if kind == "hydra":
        from hydra.core.override_parser.overrides_parser import OverridesParser
        OverridesParser.create().parse_override("gamma=[1,")
    if kind == "bug":
        return {}["missing"]
    if kind == "wait":
        import time
        print("ready", flush=True)
        time.sleep(60)
    raise AssertionError(f"{kind} did not fail")
"""


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A command whose module lies outside the packages."""
    (tmp_path / "probe_command.py").write_text(COMMAND, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(
        echelon.COMMANDS, "probe", echelon.Command("probe_command", "run", "", "fail as asked")
    )
    return "probe"


def run_python(code: str, *, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that imports from the checkout."""
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded after the code has run."""
    done = run_python(f"{code}\nimport sys\nprint('\\n' + ' '.join(sys.modules))")
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("option", ["--help", "--version", "-h", "trian"])
def test_it_answers_without_loading_more_than_the_standard_library(option: str) -> None:
    """Importing Ray takes seconds: whoever asks for help or mistypes doesn't wait for it."""
    added = loaded_by(f"import echelon; echelon.main([{option!r}])") - loaded_by("")
    assert "echelon" in added
    assert added <= {"echelon", *sys.stdlib_module_names}


def test_a_command_of_evaluation_loads_no_training_and_no_serving() -> None:
    """Its configuration stands with it: neither Ray nor the other packages are loaded."""
    added = loaded_by("import evaluation.commands.tune")
    assert "conf" in added
    assert not added & {"training", "serving", "ray", "mlflow"}


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """With what it does, on standard output."""
    assert echelon.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, command in echelon.COMMANDS.items():
        assert any(line.split() == [*name.split(), *command.summary.split()] for line in lines)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """As in the package's metadata, which are read from it."""
    assert echelon.main(["--version"]) == 0
    assert capsys.readouterr().out == f"echelon {echelon.__version__}\n"


def test_without_a_command_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage: standard error and exit code 2."""
    assert echelon.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: echelon <command>")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("trian", "unknown command 'trian'. Did you mean 'train'?"),
        ("serv", "unknown command 'serv'. Did you mean 'serve'?"),
        ("--hlep", "unknown option '--hlep'. Did you mean '--help'?"),
        ("zzz", "unknown command 'zzz'."),
    ],
)
def test_an_unknown_command_gets_one_line_and_a_guess(
    typed: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, nothing on standard output."""
    assert echelon.main([typed, "scenario=serial"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    known = ", ".join([*echelon.COMMANDS, "--help", "--version"])
    assert captured.err == f"echelon: error: {expected} Known: {known}.\n"


def test_a_command_gets_the_rest_and_gives_the_exit_code(
    probe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever follows the command is the command's."""
    assert echelon.main([probe, "ok", "-m", "seed=3", "7"]) == 7
    assert capsys.readouterr().out == "arguments: -m seed=3 7\n"


def test_a_command_may_have_two_words(
    probe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs, is listed, by its first word too, and a mistyped second word gets a guess."""
    command = echelon.COMMANDS[probe]._replace(summary="write a file")
    monkeypatch.setitem(echelon.COMMANDS, "farm render", command)
    assert echelon.main(["farm", "render", "ok", "7"]) == 7
    assert capsys.readouterr().out == "arguments: 7\n"
    assert echelon.main(["--help"]) == 0
    assert re.search(r"^  farm render +write a file$", capsys.readouterr().out, re.MULTILINE)
    assert echelon.main(["farm", "--help"]) == 0
    listed = capsys.readouterr().out
    assert "  farm render  write a file" in listed
    assert "evaluate  " not in listed
    assert echelon.main(["farm"]) == 2
    assert capsys.readouterr().err == listed
    assert echelon.main(["farm", "rendr"]) == 2
    assert "Did you mean 'farm render'?" in capsys.readouterr().err


def test_the_readme_lists_every_command() -> None:
    """Its table names the registered commands, and no others."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `echelon ([a-z]+(?: [a-z]+)*)(?=[ `]).*\|$", text, re.MULTILINE)
    assert set(rows) == set(echelon.COMMANDS)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("echelon", ["gamma is 1.5 ; expected a number in [0, 1)."]),
        ("omegaconf", ["Key 'gama' is not in struct", "full_key: algorithm.gama"]),
        ("hydra", ["no viable alternative at input '[1,'"]),
    ],
)
def test_an_error_that_a_user_can_mend_is_one_line(
    probe: str, kind: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback; exit code 1."""
    assert echelon.main([probe, kind]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("echelon probe: error: ")
    assert captured.err.count("\n") == 1
    assert all(part in captured.err for part in parts)
    assert "object_type" not in captured.err


def test_a_bug_keeps_its_traceback(probe: str) -> None:
    """Hiding it would leave nothing to report."""
    with pytest.raises(KeyError, match="missing"):
        echelon.main([probe, "bug"])


def test_a_remote_error_is_told_by_its_cause(probe: str) -> None:
    """Ray's text is the remote traceback; the user wants the reason."""
    from ray.exceptions import RayTaskError

    from envs.errors import DataError

    mendable = RayTaskError("sample", "Traceback\n  many\n  lines", DataError("no such file."))
    assert echelon._readable(mendable.as_instanceof_cause()) == "no such file."
    bug = RayTaskError("sample", "Traceback\n  many\n  lines", KeyError("missing"))
    assert echelon._readable(bug.as_instanceof_cause()) is None


def test_an_interrupt_is_one_line(probe: str, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a command: exit code 130, as shells report it."""
    code = (
        # A shell in the background, as of a build server, has children ignore Ctrl-C.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]; import echelon; "
        "echelon.COMMANDS['probe'] = echelon.Command('probe_command', 'run', '', ''); "
        "sys.exit(echelon.main(['probe', 'wait']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == "echelon probe: interrupted\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    """`echelon --help | head -1`: quiet, and as shells report it."""
    read, write = os.pipe()
    os.close(read)
    code = "import sys, echelon; sys.exit(echelon.main(['--help']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.parametrize("name", echelon.COMMANDS)
def test_every_command_has_its_code(name: str) -> None:
    """Function and dataclass exist; read, not imported: Ray is slow."""
    module, function, config, _ = echelon.COMMANDS[name]
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    assert any(isinstance(n, ast.ClassDef) and n.name == config for n in tree.body)
    [found] = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    required = len(found.args.args) - len(found.args.defaults)
    assert len(found.args.args) >= 1
    assert required <= 1
