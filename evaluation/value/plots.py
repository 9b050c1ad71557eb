"""Pictures of the value report, as PNG; in the page as a data URL: it is one file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluation.value.record import Entry
from evaluation.value.verdict import Verdict

_COLOURS = {
    Verdict.use_learning: "tab:green",
    Verdict.tie: "0.45",
    Verdict.rule_better: "tab:red",
}

_LEFT = 60.0  # of the rule's cost of 100; a bound below carries little information
_LOWEST = -60.0  # % above the rule: as `_LEFT`, and curves would be flat beside it


def savings_picture(entries: Sequence[Entry]) -> bytes:
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


def bounds_picture(entries: Sequence[Entry]) -> bytes:
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


def curves_picture(entry: Entry) -> bytes:
    """Draw validation cost against seconds of training and simulated periods, a line per seed, with
    the rule that learning starts from, the best rule and the bound; empty without curves."""
    curves = [curve for curve in entry.curves if len(curve) > 1]
    if not curves:
        return b""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, column, label in ((axes[0], 1, "seconds of training"), (axes[1], 2, "periods")):
        for curve in curves:
            # An extra validation at the end has no count of periods.
            points = [p for p in curve if p[column] > 0.0 or p is curve[0]]
            start = curve[0][3]
            change = [100.0 * (p[3] - start) / abs(start) for p in points]
            axis.plot([p[column] for p in points], change, color="tab:green", linewidth=0.9)
        for name, level, style in _levels(entry):
            axis.axhline(level, label=name, linewidth=1.0, **style)
        axis.set_xlabel(label, fontsize="small")
        axis.tick_params(labelsize="x-small")
    axes[0].set_ylabel("validation cost [% of the rule]", fontsize="small")
    axes[1].legend(fontsize="x-small")
    return _png(figure)


def _levels(entry: Entry) -> list[tuple[str, float, dict[str, str]]]:
    """Lines of the curves: name, cost in % above the rule that learning starts from, style."""
    lines = [("rule it starts from", 0.0, {"color": "0.4", "linestyle": "--"})]
    part, judgement = entry.classical, entry.judgement
    if part is None:
        return lines
    start = next(p for p in part.policies if p.name == part.base_policy).validation_cost
    best = part.best.validation_cost
    if part.base_policy != part.best_rule and start:
        style = {"color": "tab:blue", "linestyle": "-."}
        lines.append(("best rule", 100.0 * (best - start) / abs(start), style))
    if entry.bound is not None and judgement is not None and judgement.classical and start:
        # Known for other traces than these: taken as a share of the best rule's cost there.
        share = 1.0 - (judgement.headroom or 0.0) / abs(judgement.classical)
        lowest = 100.0 * (best * share - start) / abs(start)
        if lowest > _LOWEST:
            exact = entry.bound.kind.value == "exact"
            name = "optimum" if exact else "bound: no policy costs less"
            lines.append((name, lowest, {"color": "tab:red", "linestyle": ":"}))
    return lines


def data_url(picture: bytes) -> str:
    """Return a PNG as the source of an image."""
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=90, bbox_inches="tight")
    return buffer.getvalue()
