"""The table of what an agent sees: one entry a feature, in the order of the observation.

`Columns` is the table. The column at which each feature begins follows from it, for kernels, for
the features that never change and for the slopes alike; a feature is found by its name everywhere.
To add one, see docs/how_to/add_a_feature.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Annotated, NamedTuple, get_type_hints

import numpy as np

from envs.compiled.arrays import NetworkArrays
from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import expedites, has_calendar, has_seen_state
from envs.policies.base_stock import critical_ratio
from envs.types import Floats, Floats32, Ints

# The first period ahead that each feature of what arrives counts; the next one begins the next.
ARRIVALS = {
    "arriving_in_1": 1,
    "arriving_in_2_to_3": 2,
    "arriving_in_4_to_7": 4,
    "arriving_later": 8,
}


class Setting(NamedTuple):
    """What decides which features a row has.

    memory: periods of demand seen one by one, the last one included; 0: none.
    has_preference: service has a price, drawn per episode.
    """

    net: CompiledNetwork
    memory: int = 0
    has_preference: bool = False


def _facts(setting: Setting) -> dict[str, bool]:
    """What a setting has, by the names that `Feature.of` asks by."""
    net, arrays = setting.net, setting.net.arrays
    varies = len(arrays.beliefs.lane) > 0
    has_choice = int(np.diff(arrays.stocks.inbound.pointer).max()) > 1
    prices = bool((arrays.factor_rows.cost >= 0).any() or relative_price(net).any())
    closes = bool((arrays.rules.calendar_row >= 0).any())
    of_lanes = {
        "lanes": True,
        "lane prices": prices,
        "seen regimes": has_seen_state(net),
        "closed lanes": closes,
        "calendars of lanes": bool((calendars_of_goods(arrays) >= 0).any()),
    }
    return {name: has and (has_choice or varies) for name, has in of_lanes.items()} | {
        "everything": True,
        "internal lanes": arrays.stocks.outbound.index.size > 0,
        "calendar": has_calendar(net),
        "preference": setting.has_preference,
        "beliefs": varies,
        "closed periods": closes,
        "capacity": arrays.nodes.capacitated.size > 0,
        "expedite lanes": expedites(net),
    }


def calendars_of_goods(net: NetworkArrays) -> Ints:
    """[Q, 3] the rows of the calendars of shipping, transit and receiving; -1: always open."""
    rows = net.factor_rows
    of_factor = np.append(rows.calendar, -1)  # factor -1 is always 1
    goods = (rows.availability, rows.transit, rows.receiving)
    return np.stack([of_factor[row] for row in goods], axis=1)


def _demand_ago(setting: Setting) -> tuple[str, ...]:
    return tuple(f"demand_{ago}_ago" for ago in range(2, setting.memory + 1))


def _speeds(setting: Setting) -> tuple[str, ...]:
    ahead = max((len(r.forecast_accuracy) for r in setting.net.network.regimes), default=0)
    return tuple(f"speed_in_{k + 1}" for k in range(ahead))


def relative_price(net: CompiledNetwork) -> Floats:
    """[Q] unit cost / cheapest on the lanes to the pair - 1."""
    cost, lane_to = net.arrays.lanes.unit_cost, net.arrays.lanes.to
    cheapest = np.full(len(net.network.stocks), np.inf)
    np.minimum.at(cheapest, lane_to, np.where(cost > 0, cost, np.inf))
    base = np.where(np.isfinite(cheapest), cheapest, 1.0)[lane_to]
    return np.where(cost > 0, cost / base, 1.0) - 1.0


def _ones(net: CompiledNetwork) -> Floats:
    return np.ones(len(net.network.lanes))


def _critical_ratio(net: CompiledNetwork) -> Floats:
    return 2.0 * critical_ratio(net) - 1.0


def _lead_time(net: CompiledNetwork) -> Floats:
    return np.sqrt(net.leads.pair) - 1.0


def _lead_time_sd(net: CompiledNetwork) -> Floats:
    return net.leads.pair_sd / np.maximum(net.leads.pair, 1.0)


def _demand_cv(net: CompiledNetwork) -> Floats:
    return net.demand.sd / net.arrays.stocks.demand_rate - 1.0


class Scale(StrEnum):
    """How a quantity becomes a feature.

    demand: units / mean demand per period of the pair, squashed by 2 (sqrt(1 + x) - 1), at least 0.
    signed: the same with the quantity's own sign.
    none: as it is: a ratio, a share, a flag.
    """

    demand = "demand"
    signed = "signed"
    none = "none"


@dataclass(frozen=True)
class Feature:
    """An entry of the table.

    of: what a setting must have to have it, by its name in `_facts`.
    columns: names of its columns where they can be several; else one, named as the entry.
    of_lane: it is seen of every inbound lane, as lane_0_..., lane_1_...; such entries stand
        together.
    scale: how the quantity is scaled.
    flow: every setting has it; companions see it too, and a centralised critic its means.
    slope: it moves with earlier orders, and envs/observation/slopes.py has its slope; not for scale
        none.
    fixed: [P], of a lane [Q]: its value wherever no kernel of pairs.py or lanes.py writes another.
    """

    of: str = "everything"
    columns: Callable[[Setting], tuple[str, ...]] | None = None
    of_lane: bool = False
    scale: Scale = Scale.demand
    flow: bool = False
    slope: bool = False
    fixed: Callable[[CompiledNetwork], Floats] | None = None


class Columns(NamedTuple):
    """The table, as the column at which each feature begins; -1: absent; of lanes: the first's."""

    # What moves from period to period, of every pair of every network.
    on_hand: Annotated[int, Feature(flow=True, slope=True)]
    backorders: Annotated[int, Feature(flow=True, slope=True)]
    arriving_in_1: Annotated[int, Feature(flow=True, slope=True)]
    arriving_in_2_to_3: Annotated[int, Feature(flow=True, slope=True)]
    arriving_in_4_to_7: Annotated[int, Feature(flow=True, slope=True)]
    arriving_later: Annotated[int, Feature(flow=True, slope=True)]
    owed_to_me: Annotated[int, Feature(flow=True, slope=True)]
    demand_last: Annotated[int, Feature(flow=True)]
    demand_mean_7: Annotated[int, Feature(flow=True)]
    demand_mean_28: Annotated[int, Feature(flow=True)]
    demand_sd_28: Annotated[int, Feature(flow=True)]
    zero_share_28: Annotated[int, Feature(scale=Scale.none, flow=True)]
    forecast_per_period: Annotated[int, Feature(flow=True)]
    forecast_sd_per_period: Annotated[int, Feature(flow=True)]
    stock_gap: Annotated[int, Feature(scale=Scale.signed, flow=True, slope=True)]
    base_order: Annotated[int, Feature(flow=True, slope=True)]
    # Of the neighbours along internal lanes.
    owed_by_me: Annotated[int, Feature("internal lanes", slope=True)]
    downstream_shortage_sum: Annotated[int, Feature("internal lanes", slope=True)]
    downstream_shortage_max: Annotated[int, Feature("internal lanes")]
    upstream_cover: Annotated[int, Feature("internal lanes", slope=True)]
    # Of the calendar.
    promotion_ahead: Annotated[int, Feature("calendar", scale=Scale.none)]
    week_sin: Annotated[int, Feature("calendar", scale=Scale.none)]
    week_cos: Annotated[int, Feature("calendar", scale=Scale.none)]
    year_sin: Annotated[int, Feature("calendar", scale=Scale.none)]
    year_cos: Annotated[int, Feature("calendar", scale=Scale.none)]
    # `demand_last` is one period ago.
    demand_ago: Annotated[int, Feature(columns=_demand_ago)]
    # Of each inbound lane, in the order of the network; rows with fewer lanes see zeros.
    lane_lead_time: Annotated[int, Feature("beliefs", of_lane=True, scale=Scale.none)]
    lane_lead_time_sd: Annotated[int, Feature("beliefs", of_lane=True, scale=Scale.none)]
    lane_on_time: Annotated[int, Feature("beliefs", of_lane=True, scale=Scale.none, fixed=_ones)]
    lane_in_full: Annotated[int, Feature("beliefs", of_lane=True, scale=Scale.none, fixed=_ones)]
    lane_overdue: Annotated[int, Feature("beliefs", of_lane=True, scale=Scale.signed)]
    lane_price: Annotated[
        int, Feature("lane prices", of_lane=True, scale=Scale.none, fixed=relative_price)
    ]
    lane_usable_as_seen: Annotated[
        int, Feature("seen regimes", of_lane=True, scale=Scale.none, fixed=_ones)
    ]
    lane_speed_in: Annotated[
        int, Feature("lanes", _speeds, of_lane=True, scale=Scale.none, fixed=_ones)
    ]
    lane_open_now: Annotated[
        int, Feature("closed lanes", of_lane=True, scale=Scale.none, fixed=_ones)
    ]
    # By the calendars, with the usual lead time, of what is ordered now.
    lane_arrives_in: Annotated[int, Feature("calendars of lanes", of_lane=True, scale=Scale.none)]
    # Of what limits the pair's orders.
    storage_room: Annotated[int, Feature("capacity")]
    periods_until_order: Annotated[int, Feature("closed periods", scale=Scale.none)]
    expedite_position: Annotated[int, Feature("expedite lanes", scale=Scale.signed, slope=True)]
    # The same for all pairs and periods of an episode: `write_preference`.
    preference: Annotated[int, Feature("preference", scale=Scale.none)]
    # What never changes.
    critical_ratio: Annotated[int, Feature(scale=Scale.none, fixed=_critical_ratio)]
    lead_time: Annotated[int, Feature(scale=Scale.none, fixed=_lead_time)]
    lead_time_sd: Annotated[int, Feature(scale=Scale.none, fixed=_lead_time_sd)]
    demand_cv: Annotated[int, Feature(scale=Scale.none, fixed=_demand_cv)]


FEATURES: Mapping[str, Feature] = {
    field: hint.__metadata__[0]
    for field, hint in get_type_hints(Columns, include_extras=True).items()
}
FLOW_FEATURES = tuple(field for field, feature in FEATURES.items() if feature.flow)


class Layout(NamedTuple):
    """Where the features of a setting stand."""

    at: Columns  # the column at which each begins
    width: Columns  # how many columns each has
    lane_slots: int  # inbound lanes that are seen, at most
    lane_size: int  # columns of a lane
    names: tuple[str, ...]  # of all columns, in order


def compile_layout(setting: Setting) -> Layout:
    """Number the columns of the features that a setting has."""
    names: list[str] = []
    facts = _facts(setting)
    at = dict.fromkeys(FEATURES, -1)
    width = dict.fromkeys(FEATURES, 0)
    slots = size = 0
    for of_lane, group in groupby(FEATURES.items(), lambda entry: entry[1].of_lane):
        own: list[str] = []
        first = len(names)
        for field, feature in group:
            if not facts[feature.of]:
                continue
            named = feature.columns
            columns = named(setting) if named else (field.removeprefix("lane_"),)
            if columns:
                at[field], width[field] = first + len(own), len(columns)
            own += columns
        if of_lane and own:
            size, slots = len(own), int(np.diff(setting.net.arrays.stocks.inbound.pointer).max())
            own = [f"lane_{slot}_{name}" for slot in range(slots) for name in own]
        names += own
    return Layout(Columns(**at), Columns(**width), slots, size, tuple(names))


def write_fixed(net: CompiledNetwork, layout: Layout, observation: Floats32) -> None:
    """Fill what is fixed in observation [P, F, B]."""
    inbound = net.arrays.stocks.inbound
    for field, feature in FEATURES.items():
        first, width = getattr(layout.at, field), getattr(layout.width, field)
        if feature.fixed is None or width == 0:
            continue
        values = feature.fixed(net)
        if not feature.of_lane:
            observation[:, first : first + width] = values[:, None, None]
            continue
        for p, seen in enumerate(observation):
            for slot, q in enumerate(inbound.row(p)):
                column = first + slot * layout.lane_size
                seen[column : column + width] = values[q]
