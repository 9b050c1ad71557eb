"""From a command line to checked configuration objects."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from conf.schemas import register, scenario_schema
from envs.errors import ConfigError, EchelonError
from envs.scenarios import ScenarioConfig

__all__ = ["Composed", "compose_runs", "help_text", "scenario_from_file"]

_CONF = Path(__file__).parent


@dataclass(frozen=True)
class Composed:
    """command: the command's dataclass. resolved: the same as plain data, to store and log.
    folder: where the run puts its files. arguments: the overrides it was made from."""

    command: Any
    resolved: dict[str, Any]
    folder: Path
    arguments: tuple[str, ...]

    def write(self) -> None:
        """Create the folder and put the resolved configuration into it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = OmegaConf.to_yaml(OmegaConf.create(self.resolved))
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")


def compose_runs(name: str, arguments: Sequence[str]) -> Iterator[Composed]:
    """Yield one configuration per run: `key=a,b -m` gives one run per value.

    Raises ConfigError with one line for whatever is wrong with the configuration.
    """
    sweep = any(a in ("-m", "--multirun") for a in arguments)
    overrides = [a for a in arguments if a not in ("-m", "--multirun")]
    for override in overrides:
        if "=" not in override:
            raise ConfigError(f"argument '{override}' isn't of the form key=value; see --help.")
    register()
    for number, run in enumerate(_expand(overrides) if sweep else [overrides]):
        yield _compose(name, run, f"_{number}" if sweep else "")


def _expand(overrides: list[str]) -> list[list[str]]:
    choices = []
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([override.input_line or ""])
    return [list(combination) for combination in itertools.product(*choices)]


def _compose(name: str, overrides: list[str], suffix: str) -> Composed:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(config_module="conf", version_base=None):
            config = _composed(name, overrides)
        if config.get("smoke"):
            _merge(config, config.get("smoke_overrides", {}), overrides)
            if config.get("scenario"):
                _merge(config.scenario, config.scenario.smoke, overrides, "scenario.")
        OmegaConf.resolve(config)
        resolved = OmegaConf.to_container(config, enum_to_str=True)
        command = OmegaConf.to_object(config)
    except EchelonError:
        raise
    except (HydraException, OmegaConfBaseException, OSError) as error:
        raise ConfigError(_one_line(error)) from error
    assert isinstance(resolved, dict)
    resolved.pop("smoke_overrides", None)
    return Composed(
        command,
        {str(k): v for k, v in resolved.items()},
        _folder(name, config, suffix),
        tuple(overrides),
    )


def _composed(name: str, overrides: list[str]) -> DictConfig:
    try:
        return compose(name, overrides)
    except (AttributeError, AssertionError) as error:  # OmegaConf has no message for this one
        raise ConfigError(
            f"one of {', '.join(overrides)} sets a part that is null in its YAML, which can't be "
            "done from the command line: write that part out in a scenario file of your own."
        ) from error


def scenario_from_file(path: Path) -> ScenarioConfig:
    """Read a network that a YAML file writes out, as conf/scenario/assembly.yaml does.

    Raises ConfigError naming the file, and the key where one is unknown or has the wrong type.
    """
    try:
        values = OmegaConf.load(path)
        if not isinstance(values, DictConfig):
            raise ConfigError(f"{path}: expected keys and values, as in scenario=assembly.")
        base = values.pop("defaults", ["schema_explicit", "_self_"])
        if (
            list(base) != ["schema_explicit", "_self_"]
            or values.get("kind", "explicit") != "explicit"
        ):
            raise ConfigError(
                f"{path}: defaults are {list(base)} and kind '{values.get('kind', '')}'; expected "
                "[schema_explicit, _self_] and 'explicit', or neither of the keys."
            )
        config = OmegaConf.merge(scenario_schema("explicit"), values)
        config.name = config.name or path.stem
        scenario = OmegaConf.to_object(config)
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {_one_line(error)}") from error
    assert isinstance(scenario, ScenarioConfig)
    return scenario


def _merge(config: DictConfig, extra: Any, overrides: list[str], prefix: str = "") -> None:
    """Apply smoke values where the command line says nothing else."""
    said = {o.lstrip("+").split("=", 1)[0] for o in overrides}
    for key, value in _leaves(extra, ""):
        if prefix + key not in said:
            OmegaConf.update(config, key, value)


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, DictConfig | dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _folder(name: str, config: DictConfig, suffix: str) -> Path:
    if config.get("out"):
        return Path(str(config.out) + suffix)
    scenario = (config.get("scenario") or {}).get("name", "")
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d_%H%M%S_%f")[:-3]
    return Path("outputs") / name / str(scenario) / f"{stamp}{suffix}"


def _one_line(error: BaseException) -> str:
    """Collapse Hydra's message and its cause: what, where, what was wanted."""
    text = str(error)
    cause = error.__cause__
    if cause is not None and str(cause) and not isinstance(error, OSError):
        text = f"{text.splitlines()[0]} {cause}"
    match = re.search(r"Could not find '(\w+)/(\S+)'", text)
    if match is not None:
        group, choice = match.groups()
        known = ", ".join(_choices(group))
        return f"{group} '{choice}' is unknown. Known: {known}."
    text = re.sub(r"\s*(object_type|reference_type)=[^\n]*", "", text)
    text = re.sub(r"\s*full_key: (\S+)", r" (key: \1)", text)
    text = re.sub(r"\s*\n\s*", "; ", text.strip())
    return text.replace("To append to your config use +", "Unknown key; see --help. Not: +")


def _choices(group: str) -> list[str]:
    return sorted(path.stem for path in (_CONF / group).glob("*.yaml"))


def help_text(name: str, summary: str, arguments: Sequence[str]) -> str:
    """Return the command's options with their units: the commented YAML is the reference."""
    scenario = next((a.split("=", 1)[1] for a in arguments if a.startswith("scenario=")), None)
    parts = [f"{summary}\n\nusage: echelon {name} [key=value ...] [-m]\n"]
    parts.append("-m runs every combination of comma separated values, e.g. seed=0,1,2 -m\n")
    parts.append(_listing(f"{name}.yaml"))
    groups = re.findall(r"^  - (\w+): (\w+)", (_CONF / f"{name}.yaml").read_text("utf-8"), re.M)
    for group, choice in groups:
        if group == "scenario" and scenario in _choices(group):
            choice = str(scenario)
        parts.append(f"{group}=<{' | '.join(_choices(group))}>")
        if choice != "null":
            parts.append(_listing(f"{group}/{choice}.yaml"))
    return "\n".join(parts)


def _listing(path: str) -> str:
    lines = (_CONF / path).read_text(encoding="utf-8").splitlines()
    body: list[str] = []
    skipping = False
    for line in lines:
        if line.startswith("defaults:"):
            skipping = True
        elif skipping and line and not line.startswith(" "):
            skipping = False
        if not skipping:
            body.append(f"  {line}".rstrip())
    return f"--- {path}\n" + "\n".join(body).strip("\n") + "\n"
