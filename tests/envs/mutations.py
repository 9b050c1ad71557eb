"""Bugs to plant in the simulator: `test_mutations.py` shows that the checks find each of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MUTATIONS", "Mutation"]


@dataclass(frozen=True)
class Mutation:
    """A bug: in `file`, `source` (which stands there exactly once) becomes `bug`."""

    name: str
    file: str
    source: str
    bug: str


MUTATIONS = (
    Mutation(
        "arrivals never reach the shelf",
        "simulation/events/receive.py",
        "on_hand[b] += due[b]",
        "on_hand[b] += 0.0 * due[b]",
    ),
    Mutation(
        "arrivals stay in the pipeline and come again",
        "simulation/events/receive.py",
        "received[b] += due[b]\n        due[b] = 0.0",
        "received[b] += due[b]",
    ),
    Mutation(
        "delayed orders reach the sender twice",
        "simulation/events/receive.py",
        "owed[b] += due[b]",
        "owed[b] += 2.0 * due[b]",
    ),
    Mutation(
        "everybody unmet is lost, whatever p_wait",
        "simulation/events/serve.py",
        "lost[b] = (1.0 - p_wait) * unmet",
        "lost[b] = unmet",
    ),
    Mutation(
        "new customers are served before the backlog",
        "simulation/events/serve.py",
        "older[b] = min(backorders[b], available)",
        "older[b] = min(backorders[b], max(0.0, available - today[b]))",
    ),
    Mutation(
        "served backlog stays in the backlog",
        "simulation/events/serve.py",
        "(today[b] - sold[b] - lost[b]) - older[b]",
        "today[b] - sold[b] - lost[b]",
    ),
    Mutation(
        "shipped orders stay owed",
        "simulation/events/ship.py",
        "owed[b] -= shipped[b]",
        "owed[b] -= 0.0",
    ),
    Mutation(
        "cancelled orders are not written down",
        "simulation/events/ship.py",
        "copy_row(flows.cancelled[q, lo:hi], owed)",
        "pass",
    ),
    Mutation(
        "goods arrive a period late",
        "simulation/events/ship.py",
        "slot = (period + lead) % state.in_transit.shape[1]",
        "slot = (period + lead + 1) % state.in_transit.shape[1]",
    ),
    Mutation(
        "every row takes the first row's lead time",
        "simulation/events/ship.py",
        "period + leads[lo + b]",
        "period + leads[lo]",
    ),
    Mutation(
        "first come, first served instead of sharing",
        "simulation/events/ship.py",
        "proportional = want[b] * available[b] / max(need[b], 1e-300)",
        "proportional = available[b]",
    ),
    Mutation(
        "everybody who shares gets all there is",
        "simulation/events/ship.py",
        "proportional = share[b] * available[b] / max(need[b], 1e-300)",
        "proportional = available[b]",
    ),
    Mutation(
        "bills of materials take one of each part",
        "simulation/events/ship.py",
        "available[b] = max(0.0, available[b] - factor * values[b])",
        "available[b] = max(0.0, available[b] - values[b])",
    ),
    Mutation(
        "capacity is there again in every pass",
        "simulation/events/ship.py",
        "_take(flows.resource_left[r, lo:hi], net.lanes.uses.value[i], share)",
        "pass",
    ),
    Mutation(
        "regimes don't limit what ships",
        "simulation/events/ship.py",
        "want[b] = owed[b] * usable[b]",
        "want[b] = owed[b]",
    ),
    Mutation(
        "costs charged on top miss the total",
        "simulation/events/account.py",
        "charge = rate * quantity[b]\n        cost[b] += charge\n        total[b] += charge",
        "charge = rate * quantity[b]\n        cost[b] += charge",
    ),
    Mutation(
        "revenue forgets served backlog",
        "simulation/events/account.py",
        "_charge_more(cost, total, -net.stocks.price[p], flows.backlog_served[p, lo:hi])",
        "pass",
    ),
    Mutation(
        "the information delay is a period short",
        "simulation/events/order.py",
        "slot = (period + delay) % state.orders_on_way.shape[1]",
        "slot = (period + delay - 1) % state.orders_on_way.shape[1]",
    ),
    Mutation(
        "orders are never heard of where goods come last",
        "simulation/simulator.py",
        "if plays:\n            hear(",
        "if plays and not switches.receive_after_ship:\n            hear(",
    ),
    Mutation(
        "negative orders are placed",
        "simulation/feasibility.py",
        "np.floor(max(raw[b], 0.0) + 0.5 + _LAST_DIGITS)",
        "np.floor(raw[b] + 0.5 + _LAST_DIGITS)",
    ),
    Mutation(
        "a hidden constant of one unit",
        "simulation/events/order.py",
        "raw[b] = max(0.0, want[b] + LEVEL_RANGE * level[b] * sd[b])",
        "raw[b] = max(0.0, want[b] + 1.0 + LEVEL_RANGE * level[b] * sd[b])",
    ),
    Mutation(
        "yields are forgotten",
        "simulation/whole_units.py",
        "share: float = net.lanes.yield_share[q]",
        "share: float = 1.0",
    ),
    Mutation(
        "regimes don't move yields",
        "simulation/whole_units.py",
        "share *= factor[net.factor_rows.yield_share[q], b]",
        "share *= 1.0",
    ),
    Mutation(
        "scrap is not written down",
        "simulation/events/receive.py",
        "scrapped[b] += due[b] - good",
        "pass",
    ),
    Mutation(
        "goods at the door get lost",
        "simulation/events/receive.py",
        "waiting[b] += kept_out",
        "pass",
    ),
    Mutation(
        "paused goods move on",
        "simulation/events/receive.py",
        "_pause_transit(state.in_transit[q], factor[row], slot, lo, hi)",
        "pass",
    ),
    Mutation(
        "only what is due waits while transit is paused",
        "simulation/events/receive.py",
        "for ahead in range(slots - 2, -1, -1):",
        "for ahead in range(1):",
    ),
    Mutation(
        "goods of lead time 0 arrive through a pause",
        "simulation/events/receive.py",
        "_wait(state.in_transit[q], factor[net.factor_rows.transit[q]], slot, lo, hi)",
        "pass",
    ),
    Mutation(
        "goods of lead time 0 overwrite what came before",
        "simulation/events/receive.py",
        "received[b] += due[b]\n",
        "received[b] = due[b]\n",
    ),
    Mutation(
        "a closed door lets goods in",
        "simulation/events/receive.py",
        "_wait(state.in_transit[q], factor[net.factor_rows.receiving[q]], slot, lo, hi)",
        "pass",
    ),
    Mutation(
        "storage has no end",
        "simulation/events/receive.py",
        "1.0 if need <= free else free / need",
        "1.0",
    ),
    Mutation(
        "a node that can't take all takes nothing",
        "simulation/events/receive.py",
        "1.0 if need <= free else free / need",
        "1.0 if need <= free else 0.0",
    ),
    Mutation(
        "bad goods need room",
        "simulation/events/receive.py",
        "need[b] += net.stocks.volume[to] * share * due[b]",
        "need[b] += net.stocks.volume[to] * due[b]",
    ),
    Mutation(
        "the pipeline has no slot to wait in",
        "compiled/lead_times.py",
        "int(waits and (receive_after_ship or longest_way == 0))",
        "0",
    ),
    Mutation(
        "the late part of a split comes at once",
        "simulation/events/ship.py",
        "(period + lead + net.lanes.split_delay[q]) % slots",
        "(period + lead) % slots",
    ),
    Mutation(
        "the late part of a split is lost",
        "simulation/events/ship.py",
        "lo + b] += late",
        "lo + b] += 0.0 * late",
    ),
    Mutation(
        "all of a split shipment is late",
        "simulation/events/ship.py",
        "late = net.lanes.split_share[q] * shipped[b]",
        "late = shipped[b]",
    ),
    Mutation(
        "regimes don't move capacities",
        "simulation/events/ship.py",
        "capacity * factor[row, lo + b] if factor[row, lo + b] > 0.0 else 0.0",
        "capacity",
    ),
    Mutation(
        "budgets hold shipments back",
        "simulation/events/ship.py",
        "bool(limited and not net.resources.limits_orders[r])",
        "bool(limited)",
    ),
    Mutation(
        "orders use no budget",
        "simulation/events/ship.py",
        "flow = flows.ordered if net.resources.limits_orders[r] else flows.shipped",
        "flow = flows.shipped",
    ),
    Mutation(
        "a second pass ships again what was shipped",
        "simulation/events/ship.py",
        "want[b] = max(0.0, want[b] - shipped[b])",
        "want[b] = max(0.0, want[b])",
    ),
    Mutation(
        "the last are served first",
        "simulation/events/allocate.py",
        "            offset = net.lanes.priority[q] * want[q, b]",
        "            offset = -net.lanes.priority[q] * want[q, b]",
    ),
    Mutation(
        "resources know no priority",
        "simulation/events/allocate.py",
        "scratch.offset[q, b] = net.lanes.priority[q] * want[q, b]",
        "scratch.offset[q, b] = 0.0",
    ),
    Mutation(
        "fair share overlooks goods in transit",
        "simulation/events/allocate.py",
        "stock += state.in_transit_total[q, b]",
        "pass",
    ),
    Mutation(
        "fair share overlooks demand",
        "simulation/events/allocate.py",
        "weight = net.stocks.demand_rate[net.lanes.to[q]]",
        "weight = 1.0",
    ),
    Mutation(
        "more weight gets less",
        "simulation/events/allocate.py",
        "weight *= math.exp",
        "weight /= math.exp",
    ),
    Mutation(
        "the level stops rising too early",
        "simulation/events/allocate.py",
        "_STEPS = 100",
        "_STEPS = 1",
    ),
    Mutation(
        "only full loads are paid for",
        "simulation/events/account.py",
        "math.ceil(used / net.resources.load_size[r] - _ROUNDING)",
        "math.floor(used / net.resources.load_size[r])",
    ),
    Mutation(
        "joint costs are forgotten",
        "simulation/events/account.py",
        "net.resources.load_cost[r] if is_load else net.resources.joint_cost[r]",
        "net.resources.load_cost[r] if is_load else 0.0",
    ),
    Mutation(
        "all who use a resource pay its cost in full",
        "simulation/events/account.py",
        "charge = rate * net.lanes.uses.value[i] * flow[q, b] / used",
        "charge = rate if flow[q, b] > 0.0 else 0.0",
    ),
    Mutation(
        "senders earn nothing",
        "simulation/events/account.py",
        "_charge_more(earned, total, -net.lanes.price[q], flows.shipped[q, lo:hi])",
        "pass",
    ),
    Mutation(
        "orders left unfilled are charged twice",
        "compiled/stocks.py",
        "np.where(own_cost[outbound.index], 0.0, waiting_cost)",
        "waiting_cost",
    ),
    Mutation(
        "regimes don't move prices",
        "simulation/events/account.py",
        "charge = rate * factor[b] * quantity[b]",
        "charge = rate * quantity[b]",
    ),
    Mutation(
        "expedite lanes get the regular order once more",
        "simulation/events/order.py",
        "True, quick, act",
        "True, regular, act",
    ),
    Mutation(
        "budgets are no limit",
        "simulation/feasibility.py",
        "net.resources.capacity[budgets[k]] if with_budgets else np.inf",
        "np.inf",
    ),
    Mutation(
        "orders forget that storage is full",
        "simulation/feasibility.py",
        "left[k, lo:hi] = nodes.storage_capacity[n]",
        "left[k, lo:hi] = np.inf",
    ),
    Mutation(
        "calendars are no limit",
        "simulation/feasibility.py",
        "not is_open_on(net.calendars, row, period + offset)",
        "False",
    ),
    Mutation(
        "calendars know no holidays",
        "compiled/calendars.py",
        "return period if 0 <= period < known_until else known_until + period % cycle",
        "return known_until + period % cycle",
    ),
    Mutation(
        "what is closed goes on",
        "trace/draws.py",
        "tables.factor_calendar[v]",
        "-1",
    ),
    Mutation(
        "suppliers that take no orders get some",
        "simulation/feasibility.py",
        "return bool(row < 0 or factor[row, b] > 0.0)",
        "return True",
    ),
    Mutation(
        "loads may be half full",
        "network/lane.py",
        "load = (self.load_size or 0.0) if self.full_loads else 0.0",
        "load = 0.0",
    ),
    Mutation(
        "cut orders ignore their minimum",
        "simulation/feasibility.py",
        "    if whole < least:\n        return 0.0",
        "    if whole < 1.0:\n        return 0.0",
    ),
    Mutation(
        "needs of less than half a pack are forgotten",
        "compiled/rules.py",
        "usual = Rounding.up if is_coarse and waits[pair] else Rounding.nearest",
        "usual = Rounding.nearest",
    ),
    Mutation(
        "televisions are sawn in two",
        "simulation/events/ship.py",
        "if net.switches.has_whole_units:",
        "if False:",
    ),
    Mutation(
        "what whole units leave of a stock stays there",
        "simulation/whole_units.py",
        "fits = parts[b] > 0.0 and need <= there[b] + LAST_DIGITS",
        "fits = False",
    ),
    Mutation(
        "the largest remainder comes last",
        "simulation/whole_units.py",
        "before[b] += 1.0 if others[b] > parts[b] else 0.0",
        "before[b] += 1.0 if others[b] < parts[b] else 0.0",
    ),
    Mutation(
        "what is left of a budget is given to nobody",
        "simulation/feasibility.py",
        "for sweep in range(_SWEEPS):",
        "for sweep in range(0):",
    ),
    Mutation(
        "chance depends on the row, not on the episode",
        "trace/random_streams.py",
        "np.uint64(first_episode + b)",
        "np.uint64(b)",
    ),
)
