"""What a comparison leaves behind: evaluation.json, a table and plots."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from evaluation.comparison.compare import Comparison, Evaluated
from evaluation.comparison.units import cost_unit, in_words, name_of

SCHEMA_VERSION = 1  # of evaluation.json; docs/how_to/evaluation.md describes it


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as the documented, versioned plain data. Every number is finite."""
    scenario = comparison.scenario
    return {
        "schema_version": SCHEMA_VERSION,
        "scenario": scenario.name,
        "scenario_config": dict(scenario.config),
        "data_hash": scenario.data_hash,
        "seed": comparison.seed,
        "traces": comparison.traces,
        "split": comparison.split,
        "horizon": scenario.episode_length(comparison.split),
        "warm_up": scenario.warm_up,
        "period": scenario.period_name,
        "currency": scenario.currency,
        "start_date": scenario.start_date,
        "interval": {"level": 0.95, "over": comparison.unit},
        "policies": {e.competitor.name: _policy(e) for e in comparison.policies},
        "paired_differences": [
            {
                "policy": e.competitor.name,
                "reference": comparison.policies[0].competitor.name,
                "cost_per_period": e.difference.as_dict(),
                "relative": e.relative,
                "verdict": e.verdict,
            }
            for e in comparison.policies
            if e.difference is not None
        ],
    }


def _policy(evaluated: Evaluated) -> dict[str, Any]:
    competitor, kpis = evaluated.competitor, evaluated.kpis
    return {
        "base_policy": competitor.policy,
        "learned": competitor.correction is not None,
        "parameters": dict(competitor.parameters),
        "parameters_origin": competitor.origin,
        "cost_per_period": evaluated.cost.as_dict(),
        "cost_columns": kpis.cost_columns(),
        **{name: float(value) for name, value in kpis.summary().items()},
        "cost_by_node": kpis.cost_by_node(),
        "cost_by_sku": kpis.cost_by_sku(),
        "lanes": kpis.by_lane(),
        "resources": kpis.by_resource(),
    }


def write_json(comparison: Comparison, path: Path) -> None:
    """Write evaluation.json. Refuses NaN: a number that isn't one is a bug here."""
    plain = json.dumps(as_json(comparison), indent=2, allow_nan=False, default=_plain)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(plain + "\n", encoding="utf-8")
    temporary.replace(path)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in evaluation.json")


def as_table(comparison: Comparison) -> Table:
    """Return the comparison for the screen."""
    scenario = comparison.scenario
    table = Table(
        title=f"{scenario.name}: {comparison.traces} traces, seed {comparison.seed}, "
        f"{scenario.episode_length(comparison.split)} {scenario.period_name}s, "
        f"95 % intervals over {comparison.unit}",
        title_justify="left",
        caption=f"{in_words(scenario)}.",
        caption_justify="left",
    )
    for heading in ("policy", cost_unit(scenario), "vs reference"):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    supply = name_of("days_of_supply", scenario).replace("_", " ")
    for heading in ("fill rate", "ready rate", supply, "verdict"):
        table.add_column(heading, justify="right")
    for e in comparison.policies:
        kpis = e.kpis.summary()
        table.add_row(
            e.competitor.name,
            _with_interval(e.cost.mean, e.cost.half_width),
            _relative(e),
            f"{kpis['fill_rate']:.1%}",
            f"{kpis['ready_rate']:.1%}",
            f"{kpis['days_of_supply']:.1f}",
            e.verdict or "reference",
        )
    return table


def _with_interval(mean: float, half_width: float) -> str:
    digits = 3 if abs(mean) < 100 else 1
    spread = f" ± {half_width:.{digits}f}" if math.isfinite(half_width) else ""
    return f"{mean:.{digits}f}{spread}"


def _relative(evaluated: Evaluated) -> str:
    if evaluated.difference is None or evaluated.relative is None:
        return ""
    reference = evaluated.difference.mean / evaluated.relative if evaluated.relative else 0.0
    if reference == 0.0 or not math.isfinite(evaluated.difference.half_width):
        return f"{evaluated.relative:+.2%}"
    return f"{evaluated.relative:+.2%} ± {evaluated.difference.half_width / abs(reference):.2%}"
