"""Event 6 with slopes: what a period costs."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from training.twin.ship import Shipment
from training.twin.state import Draws, TwinState
from training.twin.tables import Tables


class Accounting:
    """Of one network. Fees per order are flat, and left out; loads cost by their use."""

    def __init__(self, tables: Tables) -> None:
        self._tables, a = tables, tables.net.arrays
        self._holding = tables.column(a.stocks.holding_cost)
        stocks, lanes = a.stocks, a.lanes
        rates = {
            "backlog_cost": stocks.backlog_cost, "waiting_cost": stocks.waiting_cost,
            "lost_sale_cost": stocks.lost_sale_cost, "price": stocks.price,
            "in_transit_cost": lanes.in_transit_cost, "lane_price": lanes.price,
            "unfilled_cost": lanes.unfilled_cost, "unit_cost": lanes.unit_cost,
        }  # fmt: skip
        self._rates = {name: tables.column(rate) for name, rate in rates.items() if rate.any()}
        self._outbound, self._uses = tables.entries(a.stocks.outbound), tables.entries(a.lanes.uses)
        self._seller = tables.index(a.lanes.seller)
        self._payer = tables.index(a.lanes.in_transit_payer)
        load = np.divide(
            a.resources.load_cost,
            a.resources.load_size,
            where=a.resources.load_size > 0,
            out=a.resources.load_cost * 0.0,
        )
        self._has_loads = bool(load.any())
        self._load_rate = tables.column(load)[self._uses.column] * self._uses.value
        self._by_order = tables.column(a.resources.limits_orders)[self._uses.column]

    def cost(
        self, state: TwinState, draws: Draws, ordered: Tensor, shipment: Shipment,
        served: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:  # fmt: skip
        """[P, B] currency. ordered [Q, B] units; served: sold, older demand served, lost [P, B]."""
        rates, tables = self._rates, self._tables
        sold, older, lost = served
        cost = self._holding * state.on_hand
        if "backlog_cost" in rates:
            cost = cost + rates["backlog_cost"] * state.backorders
        if "waiting_cost" in rates:
            waiting = rates["waiting_cost"] * state.owed[self._outbound.column]
            cost = cost.index_add(0, self._outbound.row, waiting)
        if "lost_sale_cost" in rates:
            cost = cost + rates["lost_sale_cost"] * lost
        if "price" in rates:
            cost = cost - rates["price"] * (sold + older)
        if "in_transit_cost" in rates:
            on_way = state.in_transit.sum(0)
            cost = cost.index_add(0, self._payer, rates["in_transit_cost"] * on_way)
        if "lane_price" in rates:
            earned = -rates["lane_price"] * shipment.shipped
            cost = cost.index_add(0, self._seller, earned)
        if "unfilled_cost" in rates:
            unfilled = rates["unfilled_cost"] * (state.owed + shipment.cancelled)
            cost = cost.index_add(0, self._seller, unfilled)
        factor = tables.factor(tables.net.arrays.factor_rows.cost, draws)
        if "unit_cost" in rates:
            charge = rates["unit_cost"] * shipment.shipped
            cost = cost.index_add(0, tables.to, charge if factor is None else charge * factor)
        if self._has_loads:
            flow = ordered[self._uses.row] * self._by_order
            flow = flow + shipment.shipped[self._uses.row] * (1.0 - self._by_order)
            charge = self._load_rate * flow
            charge = charge if factor is None else charge * factor[self._uses.row]
            cost = cost.index_add(0, tables.to[self._uses.row], charge)
        return cost
