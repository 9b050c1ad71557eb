"""From a command line to checked configuration objects.

A value has one home. Commands and their groups have all of them in conf/*.yaml: their classes have
no defaults. Scenarios: what every YAML of a kind states has no default in the kind's classes; what
only some state has its plain value there, and a YAML states what differs. Of ScenarioConfig, that
may be stated by all, too, where it is nothing at all: none, off, empty.
"""

from __future__ import annotations

import copy
import datetime as dt
import functools
import itertools
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import hydra
import yaml
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.arguments import keep_as_typed, leaves, overrides_of, parsed, set_value
from conf.network_file import as_plain, must_be_name, scenario_from_file
from conf.values import must_be_in_range, must_be_literal, writable
from envs.errors import ConfigError, EchelonError, did_you_mean, shown
from envs.redact import redact_tree
from envs.scenarios import BUILDERS, ScenarioConfig

_CONF = Path(__file__).parent
_registered: dict[str, tuple[type, Any]] = {}  # command -> its class, and groups


@dataclass(frozen=True)
class CommandConfig:
    """The options of a command: its dataclass derives from this one and stands beside its code.

    name: as typed after `echelon`; its values are in conf/NAME.yaml.
    groups: the dataclasses of groups whose files have different keys, by the NAME in a file's
        `defaults: [schema_NAME, ...]`.
    out_is_folder: whether `out`, if it has that, is the folder of the run's files.
    """

    name: ClassVar[str]
    out_is_folder: ClassVar[bool] = True
    groups: ClassVar[Mapping[str, Mapping[str, type]]] = {}


@dataclass(frozen=True)
class NetworkCommand(CommandConfig):
    """A command on one scenario: one that ships, or a network file."""

    network: str | None
    scenario: ScenarioConfig  # with a network file: what was read from it


@dataclass(frozen=True)
class ScenarioCommand(NetworkCommand):
    """The same at two sizes."""

    smoke: bool  # take what `smoke_overrides` and the scenario have for a quick run
    smoke_overrides: dict[str, Any]


T = TypeVar("T", bound=CommandConfig)


@dataclass(frozen=True)
class Composed(Generic[T]):
    """One run of a command."""

    command: T
    resolved: dict[str, Any]  # the same as plain data, to store and log
    folder: Path  # where the run puts its files
    arguments: tuple[str, ...]  # the overrides it was made from
    parent: Path | None = None  # folder of the run that it is one of several of

    @property
    def parameters(self) -> dict[str, Any]:
        """What tracking lists, by key; of a network file its numbers alone: it may have thousands
        of lanes."""
        resolved = self.resolved
        if resolved.get("network") is not None and resolved.get("scenario"):
            numbers = {k: v for k, v in resolved["scenario"].items() if not isinstance(v, dict)}
            resolved = {**resolved, "scenario": numbers}
        return dict(leaves(resolved))

    def write(self) -> None:
        """Create the folder and put the resolved configuration into it, without credentials."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(redact_tree(self.resolved), allow_unicode=True, sort_keys=False)
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")


def compose(schema: type[T], arguments: Sequence[str] = ()) -> Composed[T]:
    """Return the configuration of one run, as the command line would have it.

    `compose(TrainCommand, ["scenario=serial", "algorithm=ppo"]).command.algorithm` is a `PpoConfig`
    with the values of conf/algorithm/ppo.yaml. Raises ConfigError.
    """
    return next(compose_runs(schema, arguments))


def compose_runs(schema: type[T], arguments: Sequence[str]) -> Iterator[Composed[T]]:
    """Yield one configuration per run: `key=a,b -m` gives one run per value.

    Raises ConfigError with one line for whatever is wrong with the configuration.
    """
    for _, composed in compose_each(schema, arguments):
        if isinstance(composed, EchelonError):
            raise composed
        yield composed


def compose_each(
    schema: type[T], arguments: Sequence[str]
) -> Iterator[tuple[list[str], Composed[T] | EchelonError]]:
    """Yield the overrides and the configuration of every run, or what is wrong with it.

    Raises ConfigError where the arguments can't be read at all.
    """
    sweep = any(a in ("-m", "--multirun") for a in arguments)
    typed = [a for a in arguments if a not in ("-m", "--multirun")]
    overrides = overrides_of(typed, sweep)
    _register(schema)
    for number, run in enumerate(_expand(overrides) if sweep else [overrides]):
        try:
            yield run, _compose(schema, run, f"_{number}" if sweep else "")
        except EchelonError as error:
            yield run, error


def _register(schema: type[CommandConfig]) -> None:
    """Store a command's schema as `schema_<command>`, those of groups as `schema_<name>`."""
    groups = {"scenario": {kind: cls for kind, (cls, _) in BUILDERS.items()}, **schema.groups}
    if _registered.get(schema.name) == (schema, groups):
        return
    _registered[schema.name] = schema, groups
    _chosen.cache_clear()
    store = ConfigStore.instance()
    # Hydra's own groups (logging, launchers, help) aren't used, and take longer than ours to read.
    store.store(group="hydra", name="config", node=HydraConf(defaults=[]), provider="hydra")
    for group, classes in groups.items():
        for name, cls in classes.items():
            node = _structured(cls)
            if "kind" in node:
                node.kind = name
            store.store(group=group, name=f"schema_{name}", node=node)
    node = _structured(schema, groups)
    store.store(name=f"schema_{schema.name.replace(' ', '_')}", node=node)


def _structured(cls: type, groups: Container[str] = ()) -> DictConfig:
    """Return the keys and types of a dataclass, and the defaults it has, to merge values into.

    Frozen dataclasses give read-only nodes; YAML and overrides must be able to fill them. Mappings
    take new keys, dataclasses don't. What a group's file fills says its class itself.
    """
    node: DictConfig = OmegaConf.structured(cls)
    _thaw(node)
    for key in list(node.keys()):
        child = node._get_node(key)
        if not isinstance(child, DictConfig):
            continue
        if key in groups:
            child._metadata.ref_type = Any
        elif child._is_missing():
            if is_dataclass(child._metadata.ref_type):
                node[key] = _structured(child._metadata.ref_type)
            else:  # a mapping: what is missing could not take keys
                node[key] = {}
                mapping = node._get_node(key)
                assert isinstance(mapping, DictConfig)
                OmegaConf.set_struct(mapping, False)
    return node


def _thaw(node: DictConfig) -> None:
    OmegaConf.set_readonly(node, False)
    if node._metadata.object_type is dict:
        OmegaConf.set_struct(node, False)
    if not node._is_none() and not node._is_missing():
        for key in node:
            child = node._get_node(key)
            if isinstance(child, DictConfig):
                _thaw(child)


def _expand(overrides: list[str]) -> list[list[str]]:
    choices = []
    for text in overrides:
        key, _, value = text.partition("=")
        override = parsed(f"key={value}")
        if override is not None and override.is_sweep_override():
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([text])
    return [list(combination) for combination in itertools.product(*choices)]


def _compose(schema: type[T], overrides: list[str], suffix: str) -> Composed[T]:
    of_network = _of_network(schema, overrides)
    for_hydra = [override for override in overrides if override not in of_network]
    try:
        config = _composed(schema, for_hydra)
        keep_as_typed(config, for_hydra)
        smoke, scenario = bool(config.get("smoke")), None
        if _names_network(schema, overrides):
            scenario = scenario_from_file(Path(config.network), of_network, smoke)
        if smoke:
            _merge(config, config.get("smoke_overrides", {}), overrides)
            if scenario is None and config.get("scenario"):
                _merge(config.scenario, config.scenario.smoke, overrides, "scenario.")
        resolved = OmegaConf.to_container(config, enum_to_str=True)
        assert isinstance(resolved, dict)
        must_be_literal(resolved, "")
        if scenario is None and resolved.get("scenario"):
            must_be_name(resolved["scenario"]["name"])
        must_be_in_range(resolved)
        command = OmegaConf.to_object(config)
    except EchelonError:
        raise
    except FrozenInstanceError as error:
        raise ConfigError(f"a key after '+' is unknown: {error}; + adds to mappings.") from error
    except (HydraException, OmegaConfBaseException, OSError) as error:
        raise ConfigError(_one_line(error)) from error
    assert isinstance(command, schema)
    if scenario is not None:
        command = replace(command, scenario=scenario)  # type: ignore[call-arg] # it has the field
        resolved["scenario"] = as_plain(scenario)
    resolved.pop("smoke_overrides", None)
    return Composed(
        command,
        {str(k): v for k, v in resolved.items()},
        _folder(schema, resolved, suffix),
        tuple(overrides),
    )


def _names_network(schema: type[CommandConfig], overrides: Iterable[str]) -> bool:
    """Whether a network file takes the place of the command's scenario."""
    if "scenario" not in {f.name for f in fields(schema)}:
        return False
    return any(o.startswith("network=") and o != "network=null" for o in overrides)


def _of_network(schema: type[CommandConfig], overrides: list[str]) -> list[str]:
    """Return the overrides that are of a network file, which Hydra doesn't read.

    Raises ConfigError where a scenario is named as well.
    """
    if not _names_network(schema, overrides):
        return []
    for override in overrides:
        if override.startswith("scenario=") and override != "scenario=null":
            raise ConfigError(
                f"network, scenario: both are given, the latter as {override}; expected one of "
                "network=FILE and scenario=NAME."
            )
    return [o for o in overrides if o.lstrip("+~").startswith("scenario.")]


def _composed(schema: type[CommandConfig], overrides: list[str]) -> DictConfig:
    groups = groups_of(schema.name)
    _check_choices(overrides, groups)
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    typed = list(zip(overrides, keys, strict=True))
    chosen = _chosen(schema.name, tuple(override for override, key in typed if key in groups))
    config = copy.deepcopy(chosen)
    try:
        for override, key in typed:
            if key not in groups:
                if not parsed(override) and not override.startswith("+"):
                    _check_key(config, key, groups)
                set_value(config, override)
        return config
    except (ConfigCompositionException, AttributeError, AssertionError) as error:
        for key in keys:
            _check_key(chosen, key, groups)
        if isinstance(error, HydraException):
            raise
        raise ConfigError(  # OmegaConf has no message for this one
            f"one of {', '.join(overrides)} sets a part that is null in its YAML, which can't be "
            "done from the command line: write that part out in a scenario file of your own."
        ) from error


@functools.lru_cache(maxsize=64)  # a test session, a sweep or a report asks for the same ones often
def _chosen(command: str, choices_made: tuple[str, ...]) -> DictConfig:
    """Return what the YAML files say, with choices such as scenario=NAME. Not to be changed."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module(config_module="conf", version_base=None):
        return hydra.compose(command.replace(" ", "_"), list(choices_made))


def _check_choices(overrides: list[str], groups: Mapping[str, str | None]) -> None:
    """Raise ConfigError for `group=NAME` with a name that isn't one of ours, a path above all, and
    for Hydra's own settings, which say where to look for more."""
    for override in overrides:
        key, _, text = override.partition("=")
        group, read = key.lstrip("+~"), parsed(f"key={text}")
        if group.partition(".")[0].partition("/")[0] == "hydra":
            raise ConfigError(f"key '{group}' is unknown: settings of Hydra can't be changed.")
        name = read.value() if read is not None else text
        if group not in groups or (name is None and groups[group] is None):
            continue
        if name not in choices(group):
            raise ConfigError(
                f"{group} {shown(name)} is unknown.{did_you_mean(str(name), choices(group))}"
            )


def _check_key(config: DictConfig, key: str, groups: Iterable[str]) -> None:
    """Raise ConfigError with the nearest names if a dotted key doesn't exist."""
    node: Any = config
    for depth, part in enumerate(parts := key.split(".")):
        if not isinstance(node, DictConfig) or node._is_none():
            return
        if part not in node.keys():  # noqa: SIM118 - missing ones, too
            known = {str(name) for name in node.keys()} | ({*groups} if depth == 0 else set())  # noqa: SIM118
            where = ".".join(parts[:depth])
            inside = f" in '{where}'" if where else ""
            raise ConfigError(
                f"key '{key}' is unknown: there is no '{part}'{inside}."
                f"{did_you_mean(part, known - {'smoke_overrides'})} See --help."
            )
        node = node._get_node(part)


@functools.cache
def groups_of(command: str) -> Mapping[str, str | None]:
    """Return the command's groups, such as scenario=NAME, with what is chosen by default."""
    text = (_CONF / f"{command.replace(' ', '_')}.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["defaults"]
    return {k: v for entry in entries if isinstance(entry, dict) for k, v in entry.items()}


def _merge(config: DictConfig, extra: Any, overrides: list[str], prefix: str = "") -> None:
    """Apply smoke values where the command line sets nothing else."""
    given = {o.lstrip("+").split("=", 1)[0] for o in overrides}
    for key, value in leaves(extra):
        if prefix + key not in given:
            OmegaConf.update(config, key, value)


def _folder(schema: type[CommandConfig], resolved: Mapping[Any, Any], suffix: str) -> Path:
    if resolved.get("out") and schema.out_is_folder:
        return writable(str(resolved["out"]) + suffix)
    scenario = str((resolved.get("scenario") or {}).get("name", ""))
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d_%H%M%S_%f")[:-3]
    return Path("outputs") / schema.name / scenario / f"{stamp}{suffix}"


def _one_line(error: BaseException) -> str:
    """Collapse Hydra's message and its cause: what, where, what was wanted."""
    text = str(error)
    cause = error.__cause__
    if cause is not None and str(cause) and not isinstance(error, OSError):
        text = f"{text.splitlines()[0]} {cause}"
    match = re.search(r"Could not find '(\w+)/([^']+)'", text)
    if match is not None:
        group, choice = match.groups()
        return f"{group} '{choice}' is unknown.{did_you_mean(choice, choices(group))}"
    text = re.sub(r"\s*(object_type|reference_type)=[^\n]*", "", text)
    text = re.sub(r"\s*full_key: (\S+)", r" (key: \1)", text)
    text = re.sub(r"\s*\n\s*", "; ", text.strip())
    if re.search(r"override .* Value '[^']*,[^']*' of type", text):
        text += ". To run once with each value, add -m."
    if match := re.search(r"Invalid value '([^']*)', expected one of \[(.*?)\]", text):
        text += did_you_mean(match[1], match[2].split(", "))
    return text


def choices(group: str) -> list[str]:
    """Return the names that `group=NAME` takes."""
    return sorted(path.stem for path in (_CONF / group).glob("*.yaml"))
