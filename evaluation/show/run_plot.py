"""A picture of one simulated run: stock, orders, customers, and what struck the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from envs.network.regime import Regime, RegimeState
from envs.scenario import Scenario
from evaluation.comparison.rollout import Timeline
from evaluation.comparison.time_axis import label_periods

_USUAL = "#f0f0f0"
_STATE_COLOURS = ("#eebb55", "#cc4433", "#4488bb", "#885599", "#339977")
_MOST_STRIPS = 30  # regimes that get a row of their own


def draw_run(scenario: Scenario, run: Timeline, colours: Mapping[str, str], title: str) -> Figure:
    """Draw a run. colours: of node kinds. Grey: some regime isn't as usual; the darker, the more of
    them."""
    regimes = scenario.network.regimes
    kinds = list(run.on_hand)
    bands = min(len(regimes), _MOST_STRIPS)
    heights = [1.0] * (len(kinds) + 1) + ([0.2 + 0.12 * bands] if bands else [])
    figure = Figure(figsize=(11.0, 1.9 * sum(heights) + 0.8), layout="constrained")
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    first = figure.add_subplot(grid[0, 0])
    left = [first] + [figure.add_subplot(grid[i, 0], sharex=first) for i in range(1, len(kinds))]
    right = [figure.add_subplot(grid[i, 1], sharex=first) for i in range(len(kinds))]
    customers = figure.add_subplot(grid[len(kinds), :], sharex=first)
    periods = np.arange(len(run.demand))
    for i, kind in enumerate(kinds):
        colour = colours.get(kind, "0.3")
        left[i].fill_between(periods, run.on_hand[kind], color=colour, alpha=0.25, linewidth=0)
        left[i].plot(run.on_hand[kind], color=colour, linewidth=1.3)
        right[i].step(periods, run.ordered[kind], color=colour, linewidth=1.0, where="mid")
        left[i].set_ylabel(f"{kind}\n[units]")
    left[0].set_title("stock on hand", fontsize=10)
    right[0].set_title("ordered", fontsize=10)
    _draw_customers(customers, run, periods)
    struck = _struck(regimes, run.regimes)
    panels = [*left, *right, customers]
    if bands:
        strips = figure.add_subplot(grid[len(kinds) + 1, :], sharex=first)
        _draw_regimes(strips, regimes, run.regimes)
        panels.append(strips)
        for axis in panels[:-1]:
            _shade(axis, struck)
    for axis in panels:
        axis.set_xlim(-0.5, len(periods) - 0.5)
    for axis in panels[:-1]:
        axis.tick_params(labelbottom=axis is customers and not bands)
        axis.set_ylim(0.0, 1.1 * max(axis.dataLim.y1, 1e-9))
    label_periods(panels[-1], scenario, run.first, len(periods), ", after the warm-up")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _draw_customers(axis: Axes, run: Timeline, periods: NDArray[np.int64]) -> None:
    axis.step(periods, run.demand, color="0.3", linewidth=1.0, where="mid", label="demand")
    for values, colour, label in (
        (run.lost, "#cc4433", "lost"), (run.waiting, "#ee9944", "waiting at the end"),
    ):  # fmt: skip
        if values.any():
            axis.bar(periods, values, width=1.0, color=colour, alpha=0.8, label=label)
    axis.set_ylabel("customers\n[units]")
    axis.legend(fontsize="small", loc="upper right", ncols=3)


def _draw_regimes(axis: Axes, regimes: Sequence[Regime], states: NDArray[np.int64]) -> None:
    """A row per regime, coloured by state; of many regimes, how many aren't as usual."""
    if len(regimes) > _MOST_STRIPS:
        count = _struck(regimes, states).sum(axis=1)
        axis.fill_between(np.arange(len(count)), count, step="mid", color="0.5", linewidth=0)
        axis.set_ylabel(f"of {len(regimes)}\nregimes struck")
        axis.set_ylim(bottom=0.0)
        return
    states_of = [state for regime in regimes for state in regime.states]
    names = list(dict.fromkeys(state.name for state in states_of if _is_struck(state)))
    usual = list(dict.fromkeys(state.name for state in states_of if not _is_struck(state)))
    rows = np.arange(len(regimes))
    picture = np.zeros(states.T.shape, int)
    for g, regime in enumerate(regimes):
        colour = [1 + names.index(s.name) if _is_struck(s) else 0 for s in regime.states]
        picture[g] = np.array(colour)[states[:, g]]
    names = [", ".join(usual), *names]
    shades = [_USUAL] + [_STATE_COLOURS[i % len(_STATE_COLOURS)] for i in range(len(names) - 1)]
    extent = (-0.5, states.shape[0] - 0.5, len(regimes) - 0.5, -0.5)
    axis.imshow(picture, ListedColormap(shades), aspect="auto", interpolation="nearest",
                vmin=-0.5, vmax=len(names) - 0.5, extent=extent)  # fmt: skip
    axis.set_yticks(rows, [r.id for r in regimes], fontsize=7)
    patches = [Patch(color=shade, label=name) for shade, name in zip(shades, names, strict=True)]
    axis.legend(handles=patches, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0),
                frameon=False)  # fmt: skip


def _is_struck(state: RegimeState) -> bool:
    """Whether the state multiplies anything."""
    return state != RegimeState(state.name)


def _struck(regimes: Sequence[Regime], states: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[T, G] states -> [T, G] whether they aren't as usual."""
    struck = np.zeros(states.shape, bool)
    for g, regime in enumerate(regimes):
        struck[:, g] = np.array([_is_struck(s) for s in regime.states])[states[:, g]]
    return struck


def _shade(axis: Axes, struck: NDArray[np.bool_]) -> None:
    """Grey behind everything, period by period; of many regimes, one alone is hardly seen."""
    share = struck.sum(axis=1) / max(struck.shape[1], 3)
    edges = np.flatnonzero(np.diff(share, prepend=-1.0, append=-1.0))
    for first, stop in pairwise(edges):
        if share[first] > 0.0:
            axis.axvspan(first - 0.5, stop - 0.5, color="0.5", alpha=0.5 * share[first],
                         linewidth=0, zorder=0)  # fmt: skip
