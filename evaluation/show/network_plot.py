"""A picture of a network: a map, or columns from suppliers to customers; when large, by kind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.patheffects import withStroke
from scipy import sparse
from scipy.sparse import csgraph

from envs.compiled.network import CompiledNetwork
from envs.network.lane import Speed
from envs.types import Floats

OUTSIDE = "outside"  # where lanes without inputs begin, if no node is named as their supplier

_MOST_NAMED = 40, 12  # nodes whose names fit; nodes of a kind
_MOST_ARROWS = 80  # connections that are drawn as arrows; more are thin lines
_MOST_DRAWN = 150  # nodes that are drawn one by one without a map
_KIND_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377", "#66ccee")
_MODE_COLOURS = ("#666666", "#dd7711", "#7744aa", "#117755", "#1177bb", "#bb2255")
_HALO = withStroke(linewidth=2.0, foreground="white")
_MARKERS = {"supplier": "D", "plant": "s", "warehouse": "^", "zone": "v"}


@dataclass(frozen=True)
class Connection:
    """All lanes from one place to another of one mode and speed."""

    source: str
    target: str
    mode: str
    speed: Speed
    flow: float  # units per period that base shares send; 0: only used on an agent's decision
    lanes: int


def connect(
    net: CompiledNetwork, place_of: Callable[[str], str] = lambda node: node
) -> list[Connection]:
    """Return what the lanes of a network connect, the busiest last.

    A lane begins where its first input is; without inputs, at the node that has the name of a
    resource or regime of the lane (its supplier), else OUTSIDE. place_of: what a node counts as
    (its kind, say).
    """
    arrays, network = net.arrays, net.network
    flow = np.where(arrays.lanes.expedite, 0.0, net.base_share * net.demand.mean[arrays.lanes.to])
    nodes = {n.id for n in network.nodes}
    total: dict[tuple[str, str, str, Speed], float] = defaultdict(float)
    count: Counter[tuple[str, str, str, Speed]] = Counter()
    for q, lane in enumerate(network.lanes):
        if lane.inputs:
            source = place_of(lane.inputs[0].node)
        else:
            named = [*(u.resource for u in lane.resources), *lane.regimes]
            source = next((place_of(name) for name in named if name in nodes), OUTSIDE)
        key = (source, place_of(lane.node), lane.mode, lane.speed)
        total[key] += float(flow[q])
        count[key] += 1
    found = [Connection(*key, flow=total[key], lanes=count[key]) for key in count]
    return sorted(found, key=lambda c: (c.flow, c.source, c.target))


def kind_colours(net: CompiledNetwork) -> dict[str, str]:
    """Return a colour per node kind, the same in every picture of the network."""
    kinds = dict.fromkeys(n.kind for n in net.network.nodes)
    return {kind: _KIND_COLOURS[i % len(_KIND_COLOURS)] for i, kind in enumerate(kinds)}


def draw_network(net: CompiledNetwork, title: str) -> Figure:
    """Draw nodes by kind and connections by mode: on a map where every node has a position, else
    in columns; without a map, a network of many nodes is drawn kind by kind."""
    nodes = net.network.nodes
    kinds = {n.id: n.kind for n in nodes}
    if all(n.position is not None for n in nodes):
        links = connect(net)
        places = {n.id: n.position for n in nodes if n.position is not None}
        if any(c.source == OUTSIDE for c in links):
            x, y = np.array(list(places.values())).T
            away = 0.3 * max(float(np.ptp(x)), float(np.ptp(y)), 1.0)
            places[OUTSIDE] = (float(x.min()) - away, float(y.mean()))
        return _draw(net, title, places, kinds, links, is_map=True)
    if len(nodes) > _MOST_DRAWN:
        links = connect(net, lambda node: kinds[node])
        count = Counter(n.kind for n in nodes)
        names = {kind: f"{count[kind]} x {kind}" for kind in count}
        columns = _columns(list(count), links)
        return _draw(net, title, columns, {k: k for k in count}, links, names=names)
    links = connect(net)
    return _draw(net, title, _columns(list(kinds), links), kinds, links)


def _columns(names: list[str], links: list[Connection]) -> dict[str, tuple[float, float]]:
    """Place nodes in columns by how far they are from the outside, near those they get goods from;
    nodes that supply one another share a column."""
    names = [OUTSIDE, *names] if any(c.source == OUTSIDE for c in links) else names
    index = {name: i for i, name in enumerate(names)}
    used = [c for c in links if c.flow > 0.0] or links
    edges = np.array([(index[c.source], index[c.target]) for c in used], int).reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(len(names),) * 2)
    _, group = csgraph.connected_components(graph, directed=True, connection="strong")
    depth = np.zeros(len(names), int)  # by group: the longest way from a beginning
    for _ in names:
        for a, b in group[edges]:
            if a != b:
                depth[b] = max(depth[b], depth[a] + 1)
    column = depth[group]
    places: dict[str, tuple[float, float]] = {}
    for x in range(int(column.max()) + 1):
        here = [name for name in names if column[index[name]] == x]
        above: dict[str, list[float]] = {name: [] for name in here}
        for c in links:
            if c.target in above and c.source in places:
                above[c.target].append(places[c.source][1])
        here.sort(key=lambda name: -float(np.mean(above[name])) if above[name] else 0.0)
        for rank, name in enumerate(here):
            places[name] = (float(x), -(rank + 0.5) / len(here))
    return places


def _draw(
    net: CompiledNetwork,
    title: str,
    places: dict[str, tuple[float, float]],
    kinds: dict[str, str],
    links: list[Connection],
    *,
    names: dict[str, str] | None = None,
    is_map: bool = False,
) -> Figure:
    size = (9.0, 8.5) if is_map else _size_of_columns(places)
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    if is_map:
        axis.set_aspect("equal")
        axis.margins(0.06)
    else:
        axis.set_xlim(-0.5, max(x for x, _ in places.values()) + 0.5)
        axis.set_ylim(-1.0, 0.0)
    modes = list(dict.fromkeys((c.mode, c.speed) for c in sorted(links, key=lambda c: -c.flow)))
    colours = {mode: _MODE_COLOURS[i % len(_MODE_COLOURS)] for i, mode in enumerate(modes)}
    busiest = max((c.flow for c in links), default=0.0)
    labels: dict[str, str] = {}
    most, most_of_kind = _MOST_NAMED
    for kind, colour in {**kind_colours(net), OUTSIDE: "#999999"}.items():
        here = [name for name in places if kinds.get(name, OUTSIDE) == kind]
        x, y = np.array([places[name] for name in here]).reshape(-1, 2).T
        dot = float(np.clip(5000.0 / max(len(here), 1), 6.0, 120.0))
        axis.scatter(x, y, s=dot, c=colour, marker=_MARKERS.get(kind, "o"), edgecolors="white",
                     linewidths=min(1.0, dot / 60.0), zorder=3 + 1 / (1 + len(here)))  # fmt: skip
        if len(places) <= most or len(here) <= most_of_kind:
            labels |= {name: (names or {}).get(name, name) for name in here}
    draw = _draw_arrows if len(links) <= _MOST_ARROWS else _draw_lines
    draw(axis, places, links, colours, busiest)
    axis.axis("off")
    axis.set_title(title, loc="left", fontsize=10)
    _add_legend(axis, net, kinds, places, links, colours, names)
    _write_labels(figure, axis, places, labels)
    return figure


def _write_labels(
    figure: Figure, axis: Axes, places: dict[str, tuple[float, float]], labels: dict[str, str]
) -> None:
    """Write names below, above, right or left of their nodes: where the least is covered, other
    names before all."""
    FigureCanvasAgg(figure).draw()  # only then is it known where on the page things are
    axis.set_autoscale_on(False)
    scale = figure.dpi / 72.0
    dots = axis.transData.transform(np.array(list(places.values())))
    taken = np.concatenate([dots - 5 * scale, dots + 5 * scale], axis=1)  # left, bottom, right, top
    written = np.zeros((0, 4))
    for name, text in labels.items():
        x, y = axis.transData.transform(places[name])
        half, tall = 2.4 * len(text) * scale, 9.0 * scale
        away = half + 8 * scale
        offsets = [(0.0, -13 * scale), (0.0, 13 * scale), (away, 0.0), (-away, 0.0)]
        boxes = [
            (x + dx - half, y + dy - tall / 2, x + dx + half, y + dy + tall / 2)
            for dx, dy in offsets
        ]
        covered = [
            _overlap(np.array(box), taken) + 100.0 * _overlap(np.array(box), written)
            for box in boxes
        ]
        best = int(np.argmin(covered))
        written = np.concatenate([written, [boxes[best]]])
        dx, dy = offsets[best]
        axis.annotate(text, places[name], xytext=(dx / scale, dy / scale), fontsize=8, zorder=4,
                      textcoords="offset points", ha="center", va="center",
                      path_effects=[_HALO])  # fmt: skip


def _overlap(box: Floats, others: Floats) -> float:
    """[4], [n, 4] left, bottom, right, top -> the area that the box shares with others."""
    wide = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    tall = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    return float((np.maximum(wide, 0.0) * np.maximum(tall, 0.0)).sum())


def _size_of_columns(places: dict[str, tuple[float, float]]) -> tuple[float, float]:
    column = Counter(x for x, _ in places.values())
    width = 2.2 * len(column) + 1.5
    return max(6.0, width), float(np.clip(0.6 * max(column.values()) + 1.0, 2.2, 9.0))


def _width(connection: Connection, busiest: float) -> float:
    return 0.6 + 2.6 * float(np.sqrt(connection.flow / busiest)) if busiest else 1.0


def _style(connection: Connection) -> str:
    if connection.speed is Speed.expedite:
        return "--"
    return "-" if connection.flow > 0.0 else ":"


def _draw_arrows(
    axis: Axes,
    places: dict[str, tuple[float, float]],
    links: list[Connection],
    colours: dict[tuple[str, Speed], str],
    busiest: float,
) -> None:
    """One arrow each; parallel ones side by side. What a node makes for itself is a ring."""
    parallel: Counter[tuple[str, str]] = Counter()
    for c in reversed(links):
        colour = colours[c.mode, c.speed]
        if c.source == c.target:
            x, y = places[c.target]
            axis.scatter([x], [y], 380, "none", edgecolors=colour, linewidths=1.6, zorder=2)
            continue
        bend = 0.08 + 0.14 * parallel[c.source, c.target]
        parallel[c.source, c.target] += 1
        axis.add_patch(
            FancyArrowPatch(
                places[c.source], places[c.target], connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>", mutation_scale=10, shrinkA=7, shrinkB=7, color=colour,
                linewidth=_width(c, busiest), linestyle=_style(c), alpha=0.8, zorder=1,
                clip_on=False,
            )
        )  # fmt: skip


def _draw_lines(
    axis: Axes,
    places: dict[str, tuple[float, float]],
    links: list[Connection],
    colours: dict[tuple[str, Speed], str],
    busiest: float,
) -> None:
    """Many connections: thin lines, those in regular use on top."""
    for (mode, speed), colour in colours.items():
        for used in (False, True):
            chosen = [c for c in links if (c.mode, c.speed) == (mode, speed)]
            chosen = [c for c in chosen if (c.flow > 0.0) == used]
            axis.add_collection(
                LineCollection(
                    [(places[c.source], places[c.target]) for c in chosen],
                    linewidths=[0.7 * _width(c, busiest) if used else 0.4 for c in chosen],
                    colors=colour,
                    alpha=float(np.clip(250.0 / len(links), 0.3, 0.7)) if used else 0.2,
                    zorder=2 if used else 1,
                )
            )
    axis.autoscale_view()


def _add_legend(
    axis: Axes,
    net: CompiledNetwork,
    kinds: dict[str, str],
    places: dict[str, tuple[float, float]],
    links: list[Connection],
    colours: dict[tuple[str, Speed], str],
    names: dict[str, str] | None,
) -> None:
    count = Counter(n.kind for n in net.network.nodes)
    present = [k for k in kind_colours(net) if k in {kinds.get(name) for name in places}]
    handles = [
        Line2D([], [], marker=_MARKERS.get(kind, "o"), linestyle="", markeredgecolor="white",
               color=kind_colours(net)[kind], markersize=8, label=f"{kind} ({count[kind]})")
        for kind in present
    ]  # fmt: skip
    for (mode, speed), colour in colours.items():
        fast, name = speed is Speed.expedite, mode or "lane"
        label = f"{name} (expedite)" if fast else name
        handles.append(
            Line2D([], [], color=colour, linestyle="--" if fast else "-", linewidth=2, label=label)
        )
    if any(c.flow == 0.0 and c.speed is Speed.regular for c in links):
        arrows = len(links) <= _MOST_ARROWS
        handles.append(
            Line2D([], [], color="0.4", linestyle=":" if arrows else "-",
                   alpha=1.0 if arrows else 0.3, label="base share 0")
        )  # fmt: skip
    if any(c.source == c.target for c in links):
        handles.append(
            Line2D([], [], marker="o", markerfacecolor="none", color="0.4", linestyle="",
                   markersize=12, label="made here" if names is None else "from its own kind")
        )  # fmt: skip
    axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8,
                frameon=False)  # fmt: skip
