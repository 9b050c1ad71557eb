"""Pictures of the value report, as PNG in a data URL: the page is one file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluation.value.record import Entry
from evaluation.value.verdict import Verdict

__all__ = ["bounds_picture", "curves_picture", "savings_picture"]

_COLOURS = {
    Verdict.use_learning: "tab:green",
    Verdict.tie: "0.45",
    Verdict.rule_better: "tab:red",
}

_LEFT = 60.0  # of the rule's cost of 100; a bound below says next to nothing


def savings_picture(entries: Sequence[Entry]) -> str:
    """Draw what learning saves on every scenario, in % of cost: interval, and a dot per seed."""
    judged = [e for e in entries if e.judgement is not None][::-1]
    figure = Figure(figsize=(8, 0.8 + 0.38 * len(judged)), layout="constrained")
    axis = figure.subplots()
    for row, entry in enumerate(judged):
        judgement = entry.judgement
        assert judgement is not None
        scale = 100.0 / abs(judgement.classical) if judgement.classical else 0.0
        both, colour = judgement.saving.both, _COLOURS[judgement.verdict]
        error = both.half_width * scale if math.isfinite(both.half_width) else 0.0
        axis.errorbar(both.mean * scale, row, xerr=error, fmt="D", color=colour, capsize=4)
        seeds = [s * scale for s in judgement.saving.seeds]
        axis.plot(seeds, [row + 0.25] * len(seeds), ".", color=colour, alpha=0.6)
    axis.set_ylim(-0.6, len(judged) - 0.2)
    axis.axvline(0.0, color="0.2", linewidth=0.8)
    axis.set_yticks(range(len(judged)), [e.label for e in judged])
    axis.set_xlabel("saving of learning over the best rule [% of its cost], 95 % interval")
    return _png(figure)


def bounds_picture(entries: Sequence[Entry]) -> str:
    """Draw the costs of the rule, of learning and the bound, the rule's being 100. Bounds that are
    far below stand at the left edge, with their number."""
    judged = [e for e in entries if e.judgement is not None and e.judgement.classical][::-1]
    figure = Figure(figsize=(8, 0.9 + 0.38 * len(judged)), layout="constrained")
    axis = figure.subplots()
    for row, entry in enumerate(judged):
        judgement = entry.judgement
        assert judgement is not None
        scale = 100.0 / abs(judgement.classical)
        axis.plot(judgement.classical * scale, row, "s", color="tab:blue")
        axis.plot(judgement.learned * scale, row, "D", color="tab:green", markersize=5)
        if entry.bound is not None:
            mark = "|" if entry.bound.kind.value == "exact" else ">"
            lowest = (judgement.classical - (judgement.headroom or 0.0)) * scale
            axis.plot(max(lowest, _LEFT), row, mark, color="tab:red", markersize=9)
            if lowest < _LEFT:
                axis.annotate(f"  {lowest:.0f}", (_LEFT, row), fontsize="x-small", va="center")
    for mark, colour, label in (
        ("s", "tab:blue", "best rule"),
        ("D", "tab:green", "learned, mean of seeds"),
        ("|", "tab:red", "optimum"),
        (">", "tab:red", "bound: no policy costs less"),
    ):
        axis.plot([], [], mark, color=colour, label=label)
    axis.set_ylim(-0.6, len(judged) - 0.4)
    axis.set_yticks(range(len(judged)), [e.label for e in judged])
    axis.set_xlabel("cost, the best rule's = 100")
    axis.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _png(figure)


def curves_picture(entry: Entry) -> str:
    """Draw validation cost against seconds of training, a line per seed; empty without curves."""
    curves = [curve for curve in entry.curves if len(curve) > 1]
    if not curves:
        return ""
    figure = Figure(figsize=(4.6, 2.2), layout="constrained")
    axis = figure.subplots()
    for curve in curves:
        axis.plot([p[1] for p in curve], [p[3] for p in curve], linewidth=1.0)
    axis.axhline(curves[0][0][3], linestyle="--", color="0.4", linewidth=1.0)
    axis.set_xlabel("seconds of training (dashed: the rule)", fontsize="small")
    axis.set_ylabel("validation cost", fontsize="small")
    axis.tick_params(labelsize="x-small")
    return _png(figure)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=90, bbox_inches="tight")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
