"""A network of one's own: network=FILE is a scenario that is read from the file.

Two forms: YAML with the keys of conf/scenario/assembly.yaml, and the network.json of an exported
policy. What the file leaves out has the values of conf/network.yaml. Neither OmegaConf nor Hydra
reads any of it: names stay as they are written, and text resolves to nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from conf.arguments import leaves, parsed
from conf.yaml_text import parse_yaml, read_text, read_yaml
from envs.errors import ConfigError, EchelonError, shown
from envs.json_text import parse_json
from envs.network.checks import is_text
from envs.network.plain import Reader, must_know_keys
from envs.network.stored import FORMAT, START_DATE
from envs.scenarios import BUILDERS, ScenarioConfig

_DEFAULTS = Path(__file__).with_name("network.yaml")
_NAME = re.compile(r"(?!\.)[^/\\:]{1,100}")


def scenario_from_file(
    path: Path, overrides: Sequence[str] = (), smoke: bool = False
) -> ScenarioConfig:
    """Read a network file; overrides: `scenario.KEY=VALUE`, which win over it.

    smoke: take the file's `smoke` values for what no override sets. Raises ConfigError naming the
    file, and the key where one is unknown or has the wrong type.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such file; expected a YAML file that writes a network out, as "
            "conf/scenario/assembly.yaml does, or the network.json of an exported policy. Check "
            "the path, or give scenario=NAME instead."
        )
    values = _stored(path) if path.suffix == ".json" else _written(path)
    values = {**read_yaml(_DEFAULTS), "name": path.stem, **values, "file": str(path)}
    given = {override.lstrip("+").partition("=")[0] for override in overrides}
    for override in overrides:
        _override(path, values, override)
    if smoke and isinstance(values["smoke"], dict):
        for key, value in leaves(values["smoke"]):
            if f"scenario.{key}" not in given:
                _set(path, values, key, value)
    try:
        scenario = _scenario(values)
    except EchelonError as error:
        raise type(error)(f"{path}: {error}") from error
    return scenario


def must_be_name(name: object) -> None:
    """Refuse a scenario's name that folders and registered models can't have."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not is_text(name):
        raise ConfigError(
            f"scenario.name is {shown(name)}; expected 1 to 100 characters without '/', '\\', ':' "
            "and control characters, and no '.' first: it names folders and the registered model. "
            "Give another one, or rename the file where its name is the network's."
        )


def as_plain(scenario: ScenarioConfig) -> dict[str, Any]:
    """Return a configuration as dicts, lists, text and numbers."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(scenario)))
    return plain


def _written(path: Path) -> dict[str, Any]:
    """The keys of a YAML file."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, as in conf/scenario/assembly.yaml.")
    base = values.pop("defaults", ["schema_explicit", "_self_"])
    if base != ["schema_explicit", "_self_"] or values.get("kind", "explicit") != "explicit":
        raise ConfigError(
            f"{path}: defaults are {shown(base)} and kind {shown(values.get('kind', ''))}; "
            "expected [schema_explicit, _self_] and 'explicit', or neither of the keys."
        )
    return {**values, "kind": "explicit"}


def _stored(path: Path) -> dict[str, Any]:
    """The keys of a network.json; JSON of the YAML's form is YAML."""
    try:
        values = parse_json(read_text(path))
    except EchelonError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}: no JSON ({error}).") from error
    if not isinstance(values, dict) or "format_version" not in values:
        return _written(path)
    if values.pop("format_version") != FORMAT:
        raise ConfigError(
            f"{path}: format_version isn't {FORMAT}. Export the policy again, or use the Echelon "
            "that wrote it."
        )
    values["start_date"] = values.pop(START_DATE, None)
    values["preference"] = values.get("preference") or {}
    return {**values, "kind": "stored"}


def _scenario(values: dict[str, Any]) -> ScenarioConfig:
    must_be_name(values["name"])
    cls, _ = BUILDERS[values["kind"]]
    known = [f.name for f in fields(cls)]
    must_know_keys(values, known, "")
    own = {*known} - {f.name for f in fields(ScenarioConfig)}
    # Parts by name stay as they are written: the builder reads them by the network's own types.
    parts = {name: values.pop(name) for name in own if isinstance(values.get(name), dict)}
    scenario = Reader().part(cls, values, "", parts)
    assert isinstance(scenario, ScenarioConfig)
    return scenario


def _override(path: Path, values: dict[str, Any], override: str) -> None:
    key, _, text = override.lstrip("+").partition("=")
    if key.startswith("~"):
        raise ConfigError(f"{override}: keys of a network file can't be removed; edit {path}.")
    read = parsed(f"key={text}")
    value = None if read is None else read.value()
    if not isinstance(value, str):
        value = parse_yaml(text)  # numbers stay text, for the types that want one to read
    _set(path, values, key.removeprefix("scenario."), value)


def _set(path: Path, values: dict[str, Any], key: str, value: Any) -> None:
    """Set a value by its dotted key. Mappings on the way are copied: aliases share them."""
    *parents, last = key.split(".")
    node = values
    for depth, part in enumerate(parents, 1):
        inner = {} if node.get(part) is None else node[part]
        if not isinstance(inner, dict):
            at = ".".join(parents[:depth])
            raise ConfigError(
                f"scenario.{key}: '{at}' is {shown(inner)} in {path}; expected keys and values. "
                f"Write it out as such there, or give the whole of scenario.{at}."
            )
        node[part] = dict(inner)
        node = node[part]
    node[last] = value
