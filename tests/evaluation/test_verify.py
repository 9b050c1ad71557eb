"""The literature's cases: one of each family here, all of them at night; files of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from echelon import main
from envs.errors import DataError
from evaluation.verify.case import Case, Row, demand_of, load_cases
from evaluation.verify.run import CHECKERS, chosen, verify

CASES = load_cases()
FIRST = list({case.family: case for case in reversed(CASES)}.values())
SLOW = {"dual_sourcing", "disruption_markov", "hidden_regime", "joint_fixed_cost"}  # 10 s a case


def agrees(case: Case) -> None:
    rows = verify(case)
    assert rows
    wrong = [
        row
        for row in rows
        if row.verdict in ("differs", "failed")
        or (row.verdict == "not run" and row.quantity != "unverified")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.nightly] if case.family in SLOW else [], id=case.id)
        for case in FIRST
    ],
)
def test_one_of_each_family_agrees(case: Case) -> None:
    """Expected, and what our solvers and our simulator give."""
    agrees(case)


@pytest.mark.nightly
@pytest.mark.parametrize("case", [c for c in CASES if c not in FIRST], ids=lambda case: case.id)
def test_the_rest_agrees(case: Case) -> None:
    agrees(case)


def test_every_family_is_run() -> None:
    """No checker without a case, no case without a checker, all families in the fast third."""
    fast = chosen(CASES, [], [], fast=True)
    assert {c.family for c in CASES} == set(CHECKERS) == {c.family for c in fast}
    assert len(fast) < len(CASES) / 2


def lost_sales(**changes: Any) -> dict[str, Any]:
    """A case as somebody would write it."""
    [case] = [c for c in json.loads(_shipped()) if c["id"] == "lostsales_poisson_p4_L1"]
    return {**case, **changes}


def _shipped() -> str:
    return Path("evaluation/verify/cases.json").read_text()


def run(tmp_path: Path, cases: Any, *more: str) -> tuple[int, list[dict[str, Any]]]:
    """Run the command on a file; return its exit code and verify.json."""
    file, out = tmp_path / "cases.json", tmp_path / "out"
    file.write_text(cases if isinstance(cases, str) else json.dumps(cases))
    code = main(["verify", f"cases={file}", f"out={out}", *more])
    written = out / "verify.json"
    return code, json.loads(written.read_text()) if written.exists() else []


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    """Other numbers of a known family are solved, unknown families are named, and a wrong number
    or a judged case that can't be run makes the command fail."""
    numbers = {"demand": "poisson", "mean": 3, "h": 2, "p": 30, "L": 1}
    other = lost_sales(id="other", optimal=None, heuristics={}, params=numbers)
    strange = lost_sales(id="strange", family="vehicle_routing", optimal=None, heuristics={})
    code, rows = run(tmp_path, [other, strange])
    assert code == 0
    assert rows[0]["verdict"] == "shown"
    assert 5.0 < rows[0]["got"] < 20.0
    assert rows[1]["verdict"] == "not run"
    assert "vehicle_routing" in rows[1]["note"]
    wrong = lost_sales(optimal=5.0, heuristics={})
    code, rows = run(tmp_path, [wrong])
    assert code == 1
    assert rows[0]["verdict"] == "differs"
    code, rows = run(tmp_path, [lost_sales(family="vehicle_routing")])
    assert (code, rows[0]["verdict"]) == (1, "failed")


@pytest.mark.parametrize(
    ("cases", "told"),
    [
        ("no json", "no JSON"),
        ("[]", "one at least"),
        ([{"id": "x"}], "family is None"),
        ([lost_sales(), lost_sales()], "comes twice"),
        ([lost_sales(optimal="five")], "optimal is 'five'"),
        ([3], "entry 0 is 3"),
    ],
    ids=["text", "empty", "no family", "twice", "words", "number"],
)
def test_a_bad_file_is_one_line(
    cases: Any, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, a line that names the entry, nothing written."""
    code, rows = run(tmp_path, cases)
    assert code == 1
    assert rows == []
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert told in errors[0]


def test_nothing_is_dropped_in_silence() -> None:
    """Verified numbers that no checker runs are rows of their own, unverified ones are listed, and
    what breaks fails."""
    rules = {"magic": {"value": 1.0, "verified": True}, "guess": {"value": 2.0, "verified": False}}
    case = Case("x", "single_location", {"K": 8, "h": 0.2, "d": 100}, None, rules, None)
    rows = verify(case)
    assert [row.quantity for row in rows] == ["optimum", "magic", "unverified"]
    assert "guess" in rows[2].note
    broken = Case("x", "gsm", {"z": 1, "stages": [{"id": "a"}]}, 1.0, {}, None)
    [row] = verify(broken)
    assert row.verdict == "failed"


def test_perturbed_perishables_are_solved() -> None:
    """The demand is the case's own."""
    [shipped] = [c for c in CASES if c.id == "perishable_m2_L1_w7_lifo"]
    more = {**shipped.params, "demand": "round(Gamma(mean 5, cov .5))"}
    rows = verify(Case("more", shipped.family, more, None, {}, None))
    assert rows[0].got is not None
    assert shipped.optimal is not None
    assert rows[0].got > shipped.optimal + 100.0
    odd = {**shipped.params, "demand": "Weibull"}
    assert "Weibull" in verify(Case("odd", shipped.family, odd, None, {}, None))[0].note


def test_missing_numbers_are_told() -> None:
    """Of one case; the others go on."""
    [row] = verify(Case("x", "lost_sales", {"demand": "poisson", "mean": 5}, 1.0, {}, 0.1))
    assert row.verdict == "failed"
    assert "params.p is None" in row.note
    assert "Set 'p' in 'params' of that case in the cases file; given are" in row.note
    [row] = verify(Case("x", "beer_game", {"base_stock_levels": [1], "lead_total": [2]}, 1, {}, 1))
    assert "params.lead_total is [2]; expected 4 numbers. Set 'lead_total'" in row.note
    with pytest.raises(DataError, match="whole number"):
        Case("x", "f", {"L": 1.5}, None, {}, None).whole("L")


def test_distributions_are_read() -> None:
    """As papers write them."""
    assert demand_of("U{0..5}").high == 5.0
    assert demand_of("uniform{0..4}").low == 0.0
    assert demand_of("Normal(5,1)").standard_deviation == 1.0
    assert demand_of("Poisson(3)").mean == 3.0
    assert demand_of("geometric", 5.0).distribution == "geometric"
    assert demand_of("U{0..8}").high == 8.0
    assert demand_of("round(N(10,2))").whole_units


def test_verdicts() -> None:
    """Judged only where there are an expectation and a tolerance."""
    row: dict[str, Any] = {"case": "c", "family": "f", "quantity": "q"}
    assert Row(**row, expected=1.0, got=1.1, tolerance=0.2).verdict == "agrees"
    assert Row(**row, expected=1.0, got=1.3, tolerance=0.2).verdict == "differs"
    assert Row(**row, expected=1.0, got=1.3).verdict == "shown"
    assert Row(**row, expected=1.0, note="why").verdict == "not run"
