"""`echelon COMMAND --help`: every key with its value, as composed, and its comment."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import yaml

from conf.compose import CommandConfig, choices, compose, groups_of

_CONF = Path(__file__).parent
_FIELD = re.compile(r"^    (\w+): [^#]*(#.*)?$")
_KEY = re.compile(r"^( *)([^\s#:'\"{\[-][^:]*):(?:\s|$)")


def help_text(config: type[CommandConfig], summary: str, arguments: Sequence[str] = ()) -> str:
    """Return the command's keys; `scenario=NAME` and other choices in the arguments are made."""
    groups = groups_of(config.name)
    made = [a for a in arguments if a.partition("=")[0] in groups]
    composed = compose(config, made)
    chosen = {**groups, **dict(a.split("=", 1) for a in made)}
    comments = _comments(f"{config.name.replace(' ', '_')}.yaml")
    for group, choice in chosen.items():
        for key, lines in _comments(f"{group}/{choice}.yaml").items() if choice else ():
            comments[f"{group}.{key}".rstrip(".")] = lines
    for group, choice in chosen.items():
        options = f"# {group}=<{' | '.join(choices(group))}>; shown: {choice or 'none'}"
        comments[group] = [options, *comments.get(group, [])]
    return "\n".join(
        [
            f"echelon {config.name}: {summary}",
            "",
            f"usage: echelon {config.name} [key=value ...] [-m]",
            "Nested keys are written with dots: a.b=value. -m runs every combination of comma",
            "separated values, as in seed=0,1,2 -m",
            "",
            *_lines(composed.resolved, composed.command, comments, ""),
        ]
    )


def _lines(
    values: Mapping[str, Any], typed: Any, comments: Mapping[str, list[str]], prefix: str
) -> Iterator[str]:
    """One line a key, nested ones indented, comments above. typed: the same as dataclasses."""
    indent = "  " * prefix.count(".")
    if prefix and is_dataclass(typed) and any(f"{prefix}{key}" not in comments for key in values):
        for cls in reversed(inspect.getmro(type(typed))):
            if is_dataclass(cls):
                yield from (f"{indent}# {line}".rstrip() for line in _documentation(cls))
    own = _field_comments(type(typed)) if is_dataclass(typed) else {}
    entries = isinstance(typed, Mapping) and all(is_dataclass(entry) for entry in typed.values())
    for number, (key, value) in enumerate(values.items()):
        if entries and number > 0:  # entries have the same keys: the first one stands for all
            yield f"{indent}# {', '.join(list(values)[1:])}: likewise"
            return
        inner = typed.get(key) if isinstance(typed, Mapping) else getattr(typed, key, None)
        said = comments.get(f"{prefix}{key}", own.get(key, ()))
        yield from (f"{indent}{line}" for line in said)
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:"
            yield from _lines(value, inner, comments, f"{prefix}{key}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
            yield f"{indent}{key}: {text.removesuffix('...' + chr(10)).strip()}"


def _documentation(cls: type) -> list[str]:
    return (inspect.cleandoc(cls.__doc__ or "")).splitlines()


def _field_comments(cls: type) -> dict[str, list[str]]:
    """Return the comments of a dataclass's fields, by name: those above a field and behind it."""
    found: dict[str, list[str]] = {}
    for base in reversed([base for base in inspect.getmro(cls) if is_dataclass(base)]):
        pending: list[str] = []
        for line in inspect.getsource(base).splitlines():
            if match := _FIELD.match(line):
                found[match[1]] = [*pending, *filter(None, [match[2]])]
            pending = [*pending, line.strip()] if line.startswith("    # ") else []
    return found


def _comments(path: str) -> dict[str, list[str]]:
    """Return the comments of a YAML and of those it is based on, by key; '' is the head's."""
    lines = (_CONF / path).read_text(encoding="utf-8").splitlines()
    found: dict[str, list[str]] = {}
    for base in yaml.safe_load("\n".join(lines)).get("defaults", ()):
        if isinstance(base, str) and (_CONF / path).with_name(f"{base}.yaml").exists():
            found |= _comments(str(Path(path).with_name(f"{base}.yaml")))
    parents: list[tuple[int, str]] = []
    pending: list[str] = []
    for line in lines:
        if line.lstrip().startswith("#"):
            pending.append(line.strip())
        elif match := _KEY.match(line):
            depth = len(match[1])
            parents = [*(p for p in parents if p[0] < depth), (depth, match[2])]
            name = ".".join(key for _, key in parents)
            if pending:
                found["" if name == "defaults" else name] = pending
            pending = []
    return found
