"""The value report as text: a line per scenario, for the screen, report.md and report.json."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evaluation.comparison.compare import Estimate
from evaluation.comparison.units import in_words
from evaluation.value.features import FEATURES
from evaluation.value.record import Entry
from evaluation.value.tree import Advice, VerdictTree
from evaluation.value.verdict import Judgement, Prices

SCHEMA_VERSION = 2  # of report.json; docs/how_to/value_of_learning.md describes it

HEADINGS = (
    "scenario", "best rule", "cost of the rule", "learned", "bound", "saving", "captured share",
    "fill rate change", "training CPU s", "break-even", "verdict",
)  # fmt: skip

HOW_TO_READ = (
    "Costs are currency per period of the whole network, means over the same test traces for every "
    "policy. The best rule is the classical policy that was cheapest on validation traces after "
    "each had been tuned on training traces. Learning corrects that rule; 'learned' is the mean "
    "over all training seeds, never the best of them.",
    "Saving: rule minus learned, paired by trace, with a 95 % interval over traces and training "
    "seeds together (with one seed: over traces alone). 'use learning' means that the whole "
    "interval is above zero, 'rule better' that it is below, 'tie: keep the rule' that it holds "
    "zero: the simpler one stays.",
    "Bound: the optimum (=) where it can be computed, else a cost that no policy goes below (>=); "
    "a bound from hindsight knows the future and can't be reached. Captured share: the saving / "
    "what the bound leaves to be saved; its interval is the saving's.",
    "Fill rate change: learned minus rule, in percentage points. Where it is lower than the stated "
    "tolerance allows, the verdict is marked: the saving is then in part a poorer service, though "
    "shortages are priced in the cost.",
    "Break-even: how long the saving takes to pay for one training at the stated price of compute. "
    "Tuning the rule is not in it: it is needed either way.",
)


def costs_text(entries: Sequence[Entry]) -> str:
    """Say what costs are counted in, and what dates periods have: once, for all scenarios."""
    scenarios: dict[str, list[str]] = {}
    for entry in entries:
        if entry.classical is not None:
            scenarios.setdefault(in_words(entry.classical), []).append(entry.label)
    if len(scenarios) == 1:
        return f"{next(iter(scenarios))}."
    return "".join(f"{words}: {', '.join(of)}. " for words, of in scenarios.items()).strip()


def row_of(entry: Entry) -> tuple[str, ...]:
    """Return the cells under HEADINGS."""
    classical, judgement = entry.classical, entry.judgement
    if classical is None:
        why = f"failed: {entry.error}" if entry.error else "not finished"
        return (entry.label, *[""] * (len(HEADINGS) - 2), why)
    played = classical.best.played
    assert played is not None
    rule = (entry.label, classical.best_rule, money(played.cost))
    if judgement is None:
        why = f"failed: {entry.error}" if entry.error else "not finished"
        return (*rule, "", _bound_text(entry), *[""] * (len(HEADINGS) - 6), why)
    return (
        *rule,
        money(judgement.learned),
        _bound_text(entry),
        with_interval(judgement.saving.both, abs(judgement.classical), "%"),
        _captured_text(judgement),
        with_interval(judgement.fill_rate.both, 1.0, " pp"),
        _cpu_text(entry),
        _break_even_text(judgement, classical.period_name),
        _verdict_text(judgement),
    )


def money(value: float) -> str:
    """Five significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.5g}"


def with_interval(estimate: Estimate, whole: float, unit: str) -> str:
    """Mean and half-width in hundredths of `whole`."""
    if not whole:
        return ""
    scale = 100.0 / whole
    spread = estimate.half_width * scale
    width = f" ± {spread:.2f}" if math.isfinite(spread) else ""
    return f"{estimate.mean * scale:+.2f}{width}{unit}"


def tree_text(tree: VerdictTree | None, scenarios: int) -> str:
    """Return the rules and how far to trust them."""
    if tree is None:
        return (
            f"No tree: {scenarios} scenarios have a verdict, and it takes four to find a pattern."
        )
    return (
        f"{tree.rules()}\n\nFitted on {scenarios} scenarios. Left out one by one, "
        f"{tree.leave_one_out:.0%} are predicted right (always saying the commonest verdict: "
        f"{tree.commonest:.0%}): {_trust(tree)}."
    )


def _trust(tree: VerdictTree) -> str:
    if tree.leave_one_out > tree.commonest:
        return "better than guessing, on few scenarios"
    return "no better than guessing: a summary of these scenarios, not a forecast of others"


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the table, its last line ended."""
    lines = [headings, ["---"] * len(headings), *rows]
    cells = [" | ".join(cell.replace("|", "/") for cell in line) for line in lines]
    return "".join(f"| {line} |\n" for line in cells)


def as_markdown(
    entries: Sequence[Entry], tree: VerdictTree | None, advice: Mapping[str, Advice]
) -> str:
    """Return report.md: one table, the tree, how to read both."""
    table = markdown_table(HEADINGS, map(row_of, entries))
    lines = ["# Value of learning", "", costs_text(entries), "", table]
    judged = sum(entry.judgement is not None for entry in entries)
    lines += ["```", tree_text(tree, judged), "```", ""]
    lines += [f"- Advice for {label}: {one.text()}" for label, one in advice.items()]
    lines += ["", *(f"{text}\n" for text in HOW_TO_READ)]
    return "\n".join(lines)


def as_json(
    entries: Sequence[Entry],
    tree: VerdictTree | None,
    advice: Mapping[str, Advice],
    prices: Prices,
    seeds: int,
) -> dict[str, Any]:
    """Return report.json: plain data, every number finite."""
    return {
        "schema_version": SCHEMA_VERSION,
        "interval": "95 %, over traces and training seeds",
        "prices": asdict(prices),
        "seeds": seeds,
        "features": dict(FEATURES),
        "scenarios": [_entry(entry) for entry in entries],
        "tree": None
        if tree is None
        else {
            "rules": tree.rules(),
            "leave_one_out_accuracy": tree.leave_one_out,
            "commonest_verdict_accuracy": tree.commonest,
        },
        "advice": {
            label: {"verdict": one.verdict, "counts": dict(one.counts), "path": list(one.path)}
            for label, one in advice.items()
        },
    }


def _entry(entry: Entry) -> dict[str, Any]:
    plain: dict[str, Any] = {"scenario": entry.label, "error": entry.error or None}
    if entry.classical is None:
        return plain
    classical = entry.classical
    plain |= {
        "period": classical.period_name,
        "currency": classical.currency,
        "start_date": classical.start_date,
        "features": dict(classical.features),
        "best_rule": classical.best_rule,
        "learning_starts_from": classical.base_policy,
        "traces": classical.traces,
        "policies": {
            p.name: {"why_not": p.why_not}
            if p.played is None
            else {
                "cost_per_period": p.played.cost,
                "fill_rate": p.played.fill_rate,
                "validation_cost_per_period": p.validation_cost,
                "parameters": dict(p.parameters),
                "tuning": {
                    "evaluations": p.evaluations,
                    "periods": p.tuning_periods,
                    "cpu_seconds": p.tuning_cpu_seconds,
                },
            }
            for p in classical.policies
        },
        "bound": None
        if entry.bound is None
        else {**asdict(entry.bound), "kind": entry.bound.kind.value},
        "no_bound": entry.no_bound or None,
        "seeds": [
            {
                "seed": s.seed,
                "cost_per_period": s.played.cost,
                "fill_rate": s.played.fill_rate,
                "cpu_seconds": s.cpu_seconds,
                "periods": s.periods,
                "iterations": s.iterations,
                "best_iteration": s.best_iteration,
            }
            for s in entry.seeds
        ],
    }
    return plain | ({} if entry.judgement is None else entry.judgement.as_dict())


def _bound_text(entry: Entry) -> str:
    if entry.bound is None:
        return ""
    sign = "=" if entry.bound.kind.value == "exact" else ">="
    return f"{sign} {money(entry.bound.cost)}"


def _captured_text(judgement: Judgement) -> str:
    if judgement.captured is None:
        return "" if judgement.headroom is None else "nothing left"
    mean, low, high = judgement.captured
    return f"{mean:.0%} ({low:.0%} to {high:.0%})"


def _cpu_text(entry: Entry) -> str:
    known = [s.cpu_seconds for s in entry.seeds if s.cpu_seconds is not None]
    return f"{len(known)} x {sum(known) / len(known):.0f}" if known else ""


def _break_even_text(judgement: Judgement, period: str) -> str:
    even = judgement.break_even
    if even is None:
        return ""
    if not math.isfinite(even.periods):
        return "never"
    if even.years is not None and even.years >= 1.0:
        return f"{even.years:.1f} years"
    return f"{math.ceil(even.periods)} {period}s" if even.periods > 1.0 else f"1 {period}"


def _verdict_text(judgement: Judgement) -> str:
    note = "" if judgement.equal_service else " (not at equal service)"
    return judgement.verdict.value + note
