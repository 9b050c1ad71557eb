"""Names and dates of a request, looked up in the network."""

from __future__ import annotations

import datetime as dt

from envs.scenario import Scenario
from evaluation.recommendation.findings import Findings, hint_at, short, unknown
from evaluation.recommendation.schemas import OnLane, When


class Names:
    """The rows of a network by name."""

    def __init__(self, scenario: Scenario) -> None:
        network = scenario.network
        self._scenario = scenario
        self.lanes = network.lanes
        self.labels = [s.label for s in network.stocks]
        self.lane = {lane.id: q for q, lane in enumerate(network.lanes)}
        self._pair = {(s.node, s.sku): p for p, s in enumerate(network.stocks)}
        self._locations = {s.node for s in network.stocks}
        self._items = {s.sku for s in network.stocks}
        self._lanes_to: dict[tuple[str, str], list[int]] = {}
        for q, lane in enumerate(network.lanes):
            self._lanes_to.setdefault((lane.node, lane.sku), []).append(q)
        self.of_lane = {  # names by which a scope can mean a lane
            "locations": [{lane.node} for lane in network.lanes],
            "items": [{lane.sku} for lane in network.lanes],
            "suppliers": [
                {*(use.node for use in lane.inputs), *(use.resource for use in lane.resources)}
                for lane in network.lanes
            ],
        }

    def periods(self, when: When, as_of: dt.date | None, path: str, found: Findings) -> int:
        """Return periods from now: a number as it is; a date needs `as_of`."""
        if isinstance(when, int):
            return when
        if as_of is None:
            found.error(path, "can't be counted from: as_of is missing; give it")
            return 0
        return self._scenario.period_of(when) - self._scenario.period_of(as_of)

    def past(self, when: When, as_of: dt.date | None, path: str, found: Findings) -> int:
        """The same of what has happened already."""
        periods = self.periods(when, as_of, path, found)
        if periods > 0:
            found.error(path, f"is {when}, after as_of; expected what has happened already")
        return periods

    def find_lane(self, row: OnLane, path: str, found: Findings) -> int | None:
        """Return the lane of a row, or None after noting what is wrong with it."""
        if row.lane is not None:
            q = self.lane.get(row.lane)
            if q is None:
                found.error(f"{path}.lane", unknown("lane", row.lane, self.lane))
            return q
        assert row.to is not None
        assert row.item is not None
        if self.pair(row.to, row.item, path, None, found, location="to") is None:
            return None
        to_pair = self._lanes_to[row.to, row.item]
        senders = {q: {use.node for use in self.lanes[q].inputs} for q in to_pair}
        fitting = [q for q in to_pair if row.source is None or row.source in senders[q]]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            assert row.source is not None
            known = {node for nodes in senders.values() for node in nodes}
            message = f"no lane from '{short(row.source)}' delivers this.{hint_at(known)}"
            found.error(f"{path}.from", f"{message} An outside supplier has no name: leave it out.")
        else:
            ids = ", ".join(f"'{self.lanes[q].id}'" for q in fitting[:5])
            found.error(path, f"fits {len(fitting)} lanes ({ids}); give lane")
        return None

    def pair(
        self,
        node: str,
        item: str,
        path: str,
        given: set[int] | None,
        found: Findings,
        location: str = "location",
    ) -> int | None:
        """Return the row of a pair, or None after noting what is wrong with it."""
        p = self._pair.get((node, item))
        if p is None:
            if node not in self._locations:
                found.error(f"{path}.{location}", unknown("location", node, self._locations))
            elif item not in self._items:
                found.error(f"{path}.item", unknown("item", item, self._items))
            else:
                found.error(f"{path}.item", f"'{item}' is not stocked at '{node}'")
            return None
        if given is not None:
            if p in given:
                found.error(path, f"'{self.labels[p]}' is given twice; expected one row each")
                return None
            given.add(p)
        return p
