"""What is wrong with a request, and what had to be assumed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from envs.dates import DEFAULT_START
from envs.errors import EchelonError, did_you_mean
from evaluation.recommendation.schemas import FieldError, Notice

_MOST_ERRORS = 20  # in one answer
_MOST_NAMED = 20  # rows named in one notice

_MESSAGES = {
    "MISSING_STOCK": "not in stock: taken as nothing on hand and no backorders",
    "STALE_STOCK": "stock counted too long ago: the base policy answers for it",
    "MISSING_SALES": "not in recent_sales: the demand level of training is used",
    "OVERDUE_ORDER": "open orders that were due already: taken to arrive as early as possible",
    "ETA_CAPPED": "open orders due later than the longest lead time: taken to arrive after it",
    "ETA_ASSUMED": "open orders without eta: taken to arrive after the lane's mean lead time",
    "ORDER_DATE_ASSUMED": "open orders without ordered: taken as ordered a mean lead time before "
    "they arrive, or just now where they aren't shipped",
    "MISSING_RECEIPTS": "lanes whose service varies, not in receipts: the lead time and "
    "reliability of training are believed",
    "RECEIPTS_UNUSED": "receipts of lanes whose service never varied in training: nothing is "
    "learned from them",
    "PROMISE_UNUSED": "receipts promised for another time than in training: on time is what came "
    "within the lane's promised time of training",
    "PLANNED_ANEW": "a policy that plans for several periods at once: it plans anew, from what is "
    "posted",
    "MISSING_STATUS": "not in lane_status or node_status: unknown, its long-run mean is used",
    "STATUS_HIDDEN": "status that the policy was trained without: it says only which lanes take "
    "orders now, and at what price",
    "MISSING_FORECASTS": "not in forecasts: unknown, the long-run mean is used",
    "MISSING_PRICES": "lanes whose price moves, not in prices: the long-run mean is used",
    "PRICES_DIFFER": "lanes whose prices moved together in training and don't: their mean is used",
    "PRICE_UNUSED": "lanes whose price never moved in training: that one is used",
    "CALENDAR_EXTRAPOLATED": "as_of is outside the known calendar: the same weekday and week of "
    "its nearest year is used, with that week's promotions and that year's level",
    "LIMIT_NOT_USED_UP": "budgets or room at nodes, too small for all orders and yet not used up: "
    "what is left fits none of them (minima, packs, a second limit)",
    "CLASSICAL_ONLY": "an operator has the base policy answer alone",
    "CALENDAR_ASSUMED": f"the network has no start_date: its calendars count from {DEFAULT_START}",
}


class RequestError(EchelonError):
    """A request that doesn't fit the network; `errors` name the fields."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors[:_MOST_ERRORS]
        super().__init__("; ".join(f"{e.field}: {e.message}" for e in self.errors))


@dataclass
class Findings:
    """Collects errors and notices while a request is read."""

    errors: list[FieldError] = field(default_factory=list)
    rows: dict[str, list[str]] = field(default_factory=dict)

    def error(self, path: str, message: str) -> None:
        self.errors.append(FieldError(field=path, message=message))

    def notice(self, code: str, row: str) -> None:
        self.rows.setdefault(code, []).append(row)

    def notices(self) -> list[Notice]:
        return [
            Notice(code=code, message=_MESSAGES[code], rows=len(rows), where=rows[:_MOST_NAMED])
            for code, rows in self.rows.items()
        ]


def classical_only(network: str) -> list[Notice]:
    """Say that an operator has the network answered by its base policy alone."""
    found = Findings()
    found.notice("CLASSICAL_ONLY", network)
    return found.notices()


def field_path(location: tuple[int | str, ...]) -> str:
    """Name a field as callers know it: ('stock', 3, 'on_hand') -> 'stock[3].on_hand'."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, and which one may be meant."""
    return f"{what} '{short(name)}' is unknown.{hint_at(known, name)}"


def hint_at(known: Iterable[str], name: str = "") -> str:
    """The hint at the closest name; all names only where they are few."""
    names = sorted(known)
    if not names:
        return ""
    hint = did_you_mean(short(name), names)
    return hint if len(names) <= 10 else hint.partition(" Known: ")[0]


def short(text: str) -> str:
    """The text, cut where it is too long for a message."""
    return text if len(text) <= 60 else text[:57] + "..."
