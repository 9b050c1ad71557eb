"""What people type: names with any characters, and names with a slip in them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from conf.compose import compose, compose_runs
from echelon import main
from envs.errors import EchelonError
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand

TYPED = [  # key, what is typed, what the command gets
    ("out", "run (2)", "run (2)"),
    ("out", "Läufe/März #1", "Läufe/März #1"),
    ("out", "C:\\data\\x (1)", "C:\\data\\x (1)"),
    ("out", "C:\\data (1)\\", "C:\\data (1)\\"),
    ("out", "it's", "it's"),
    ("out", "a, b", "a, b"),
    ("out", "a=b", "a=b"),
    ("out", "'a b'", "a b"),
    ("policy_params_from", "x(1).json", "x(1).json"),
    ("artifact", "Äpfel & Birnen, neu", "Äpfel & Birnen, neu"),
    ("scenario.name", "Nord, Süd", "Nord, Süd"),
    ("policies", "[a #1,base_stock]", ["a #1", "base_stock"]),
    ("policies", "[Kanban (neu), 'x, y']", ["Kanban (neu)", "x, y"]),
    ("policies", "[]", []),
    ("out", "0017", "0017"),
    ("out", "1E5", "1E5"),
    ("out", "2024_01_05", "2024_01_05"),
    ("out", "+5", "+5"),
    ("out", "true", "true"),
    ("policies", "[0017, 1E5,1_000,on]", ["0017", "1E5", "1_000", "on"]),
    ("scenario.stress_of", "NO", "NO"),
]


@pytest.mark.parametrize(("key", "typed", "expected"), TYPED)
def test_text_is_taken_as_it_is_typed(key: str, typed: str, expected: object) -> None:
    """Accents, `#`, brackets, spaces, commas, backslashes: no grammar to know."""
    value: Any = compose(EvaluateCommand, [f"{key}={typed}"]).resolved
    for part in key.split("."):
        value = value[part]
    assert value == expected


def build_assembly(typed: str) -> None:
    """Build a network with one value typed."""
    build_scenario(compose(EvaluateCommand, ["scenario=assembly", typed]).command.scenario)


@pytest.mark.parametrize("typed", ["1_000", "٣", "'٣'"])
@pytest.mark.parametrize("key", ["seed", "scenario.action_scale", "scenario.skus.frame"])
def test_a_number_is_typed_in_plain_digits(key: str, typed: str) -> None:
    """Python would take more for one, and a typing error for another number."""
    with pytest.raises(EchelonError, match=r" is '.*'; expected (numbers|a finite number)"):
        build_assembly(f"{key}={typed}")


@pytest.mark.parametrize("typed", ["1E5", "true", "17"])
def test_a_name_that_would_be_a_number_is_not_guessed(typed: str) -> None:
    """Where anything may stand, Hydra has lost what was typed."""
    with pytest.raises(EchelonError, match=r"lanes.truck.sku is .*put it in quotes"):
        build_assembly(f"scenario.lanes.truck.sku={typed}")
    with pytest.raises(EchelonError, match=f"SKU '{typed}' is not defined"):
        build_assembly(f"scenario.lanes.truck.sku='{typed}'")


NAMED = [  # what is typed, the events that the command gets
    ("scenario.events={Zürich (1): {first: 3}}", {"Zürich (1)": {"first": 3}}),
    ("scenario.events={'a, b': {first: 3}}", {"a, b": {"first": 3}}),
    ('scenario.events={"a #1": {lanes: ["b #2", c (3)]}}', {"a #1": {"lanes": ["b #2", "c (3)"]}}),
    ("scenario.events={a b: {lanes: [it's, b=c]}}", {"a b": {"lanes": ["it's", "b=c"]}}),
    ("+scenario.events.Läufe März={last: 3}", {"Läufe März": {"last": 3}}),
]


@pytest.mark.parametrize(("typed", "expected"), NAMED)
def test_names_in_mappings_and_keys_are_taken_as_they_are_typed(
    typed: str, expected: dict[str, dict[str, Any]]
) -> None:
    """Accents, `#`, brackets, spaces and commas, in quotes where YAML wants them."""
    events = compose(EvaluateCommand, ["scenario=serial", typed]).resolved["scenario"]["events"]
    assert set(events) == set(expected)
    for name, values in expected.items():
        assert {key: events[name][key] for key in values} == values


def test_a_key_may_have_any_name() -> None:
    """One that was added a moment ago; several values of it are several runs."""
    lane, name = "scenario.lanes.Straße (2)", "tea@shop/2"
    typed = ["scenario=assembly", f"+{lane}={{node: shop}}", f"+{lane}.lead_time=3,4", "-m"]
    runs = [run.resolved["scenario"]["lanes"] for run in compose_runs(EvaluateCommand, typed)]
    assert [r["Straße (2)"] for r in runs] == [{"node": "shop", "lead_time": t} for t in (3, 4)]
    typed = ["scenario=assembly", f"+{lane}.name=a #1, b", f"+scenario.lanes.{name}.name=c"]
    lanes = compose(EvaluateCommand, typed).resolved["scenario"]["lanes"]
    assert (lanes["Straße (2)"], lanes[name]) == ({"name": "a #1, b"}, {"name": "c"})


def test_the_quoting_that_an_error_shows_works_when_it_is_pasted() -> None:
    """As a shell hands it over."""
    with pytest.raises(EchelonError) as caught:
        compose(EvaluateCommand, ["scenario.events={strike #1: {}}"])
    [pasted] = shlex.split(str(caught.value).partition(" as in ")[2].removesuffix("."))
    events = compose(EvaluateCommand, ["scenario=serial", pasted]).command.scenario.events
    assert events["strike #1"].lanes == ["sea (2)"]


def test_commas_part_runs_where_a_sweep_is_asked_for() -> None:
    """Other values keep their special characters."""
    runs = compose_runs(EvaluateCommand, ["out=run (2)", "seed=1,2", "-m"])
    assert [(r.command.out, r.command.seed) for r in runs] == [("run (2)", 1), ("run (2)", 2)]


NEAREST = [  # command, where the slip is, what was meant
    ("evaluate policies=[leanred,base_stock]", "policy 'leanred'", "learned"),
    ("evaluate policies=[base_stok]", "policy 'base_stok'", "base_stock"),
    ("tune policies=[echelon_base_stok]", "policy 'echelon_base_stok'", "echelon_base_stock"),
    ("train scenario.base_policy=ewma_basestock", "policy 'ewma_basestock'", "ewma_base_stock"),
    ("train imitate.policy=base_stok", "policy 'base_stok'", "base_stock"),
    ("train algorithm=pathwse", "algorithm 'pathwse'", "pathwise"),
    ("train model=recurent", "model 'recurent'", "recurrent"),
    ("tune scenario=lost_sale", "scenario 'lost_sale'", "lost_sales"),
    ("report scenarios=[lost_salez]", "scenario 'lost_salez'", "lost_sales"),
    ("report start_from=best_rul", "start_from is 'best_rul'", "best_rule"),
    ("report classical.lost_sales=[s_q]", "policy 's_q'", "s_s"),
    ("bound scenario.demand.distribution=geometrik", "distribution 'geometrik'", "geometric"),
]


@pytest.mark.parametrize(("line", "slip", "meant"), NEAREST, ids=[line for line, _, _ in NEAREST])
def test_a_slip_is_answered_with_the_nearest_name(
    line: str, slip: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Before anything is tuned or trained."""
    monkeypatch.chdir(tmp_path)
    command, *typed = line.split()
    if command != "report" and not any(word.startswith("scenario=") for word in typed):
        typed.append("scenario=lost_sales")
    assert main([command, *typed, "smoke=true"]) == 1
    error = capsys.readouterr().err
    assert slip in error
    assert f"Did you mean '{meant}'?" in error


HOSTILE = {  # what is typed, what is told
    "an unknown key, added": ("+foo.bar=1", "unknown"),
    "Hydra's search path": ("hydra.searchpath=[/tmp]", "settings of Hydra can't be changed"),
    "the same, added": ("+hydra.searchpath=[file:///tmp]", "settings of Hydra can't be changed"),
    "Hydra's folder": ("hydra.run.dir=/tmp/x", "settings of Hydra can't be changed"),
    "a path": ("scenario=../../path", "scenario '../../path' is unknown"),
    "another folder's file": ("scenario=../evaluate", "scenario '../evaluate' is unknown"),
    "nothing": ("scenario=", "scenario '' is unknown"),
    "null": ("scenario=null", "scenario None is unknown"),
    "a list": ("scenario=[serial,retail]", "scenario ['serial', 'retail'] is unknown"),
    "no key": ("=1", "isn't of the form key=value"),
    "no key, added": ("+=1", "isn't of the form key=value"),
    "a deep list": ("scenario.demand=" + "[" * 3000, "3000 deep; expected at most"),
    "a deep mapping": ("scenario.events=" + "{a: " * 3000 + "}" * 3000, "3000 deep"),
    "a long value": ("scenario.name=" + "x" * 200_000, "has 200014 characters"),
    "a long key": ("x" * 90_000 + "=1", "has 90002 characters"),
    "a secret": ("out=${oc.env:ECHELON_SECRET}", "nothing is filled in"),
    "a secret in a list": ("policies=[a,'${oc.env:ECHELON_SECRET}']", "nothing is filled in"),
    "a lead time": ("scenario.lead_time=2000000000", "at most 10000 periods"),
    "a demand": ("scenario.demand.mean=1e300", "at most 1e+09"),
    "a seed below 0": ("seed=-1", "seed is -1; expected a whole number from 0"),
    "a seed above all": ("seed=" + "9" * 40, "expected a whole number from 0"),
    "traces above all": ("traces=1000000000000", "traces is 1000000000000; expected"),
    "a folder above": ("scenario.name=../../x", "without '/'"),
    "a name that no registered model has": ("scenario.name=a:b", "without '/', '\\', ':'"),
    "a long name": ("scenario.name=" + "x" * 101, "expected 1 to 100 characters"),
    "no name": ("scenario.name=''", "expected 1 to 100 characters"),
    "NaN": ("policy_params.base_stock.level=nan", "policy_params.base_stock.level is NaN"),
    "a number that isn't, deep down": ("tune.traces=1000000000000", "tune.traces is 1000000000000"),
    "bytes that are no text": ("policies=[\udcff]", "is no text; expected UTF-8"),
    "a folder that is a file": ("out=/dev/null/x", "expected a folder that can be made"),
    "a folder that can't be": ("out=" + "x" * 300, "out is 'xxx"),
    "a zero byte": ("out=a\x00b", r"out is 'a\x00b'"),
    "another machine": ("out=s3://bucket/run", "expected a folder of this machine: 's3:' isn't"),
    "a slash too few": ("out=file:/run", "expected a folder of this machine: 'file:' isn't"),
    "a direction": ("scenario.name=a\u202eb", r"scenario.name is 'a\u202eb'"),
    "a terminal": ("scenario.name=\x1b[2J", r"scenario.name is '\x1b[2J'"),
    "a terminal in a key": ("\x1b[2J=1", r"\x1b[2J"),
}


@pytest.mark.parametrize(("typed", "told"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_arguments_are_one_short_line(
    typed: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """No traceback, nothing filled in, nothing that steers a terminal, and no folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHELON_SECRET", "s3cret")
    known = [] if typed.startswith("scenario=") else ["scenario=lost_sales"]
    assert main(["evaluate", *known, typed, "policies=[base_stock]"]) == 1
    error = capsys.readouterr().err
    assert told in error, error
    assert error.count("\n") == 1
    assert len(error) < 2_100
    assert error.rstrip("\n").isprintable()
    assert "s3cret" not in error
    assert not list(tmp_path.iterdir())


def test_a_network_file_fills_nothing_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text is text."""
    from conf.compose import scenario_from_file

    monkeypatch.setenv("ECHELON_SECRET", "s3cret")
    text = "nodes: {a: '${oc.env:ECHELON_SECRET}'}\nskus: {}\nstocks: {}\nlanes: {}\n"
    (tmp_path / "n.yaml").write_text(text, encoding="utf-8")
    assert "s3cret" not in str(scenario_from_file(tmp_path / "n.yaml"))


SECRET = "p4ss/w0rd"


@pytest.mark.parametrize("name", ["train", "evaluate", "report", "sweep"])
def test_a_password_is_kept_nowhere(name: str, tmp_path: Path) -> None:
    """In whatever a run writes of its configuration; who goes on with it gives it again."""
    import importlib

    from echelon import COMMANDS
    from envs.errors import ConfigError
    from envs.redact import redact_tree
    from training.commands.arguments import keep_record, record_of, with_resumed

    command = COMMANDS[name]
    schema = getattr(importlib.import_module(command.module), command.config)
    uri = f"tracking.uri=http://ann:{SECRET}@tracking.example:5000"
    composed = compose(schema, [uri, f"out={tmp_path / 'run'}"])
    keep_record(
        composed.folder,
        record_of(composed.folder, name, composed.arguments, composed.resolved, ()),
    )
    composed.write()
    written = [path.read_text("utf-8") for path in composed.folder.iterdir()]
    assert len(written) == 2
    for text in [*written, repr(composed.command), str(redact_tree(composed.resolved))]:
        assert "p4ss" not in text
        assert "w0rd" not in text
    with pytest.raises(ConfigError, match=r"tracking.uri had a password, .* give tracking.uri="):
        with_resumed([f"resume={composed.folder}"], name, "a run", ConfigError)
    again = with_resumed([f"resume={composed.folder}", uri], name, "a run", ConfigError)
    assert uri in again
