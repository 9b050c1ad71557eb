"""Seasons of demand, which count by date, as factors of every period of the calendar."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from envs.dates import WHOLE_YEAR, whole_week
from envs.errors import ConfigError, NetworkError
from envs.network.network import SupplyNetwork
from envs.network.season import Season
from envs.types import Floats

_MOST_YEARS = 50


def has_trend(network: SupplyNetwork) -> bool:
    """Whether some demand grows or shrinks for ever: its calendar isn't repeated."""
    return any(season.trend != 0.0 for season in _seasons(network))


def write_out_seasons(
    network: SupplyNetwork, first: date, period_name: str, episode: int
) -> SupplyNetwork:
    """Return the network with a multiplier in place of each season.

    The calendar is a week, or 52 where months differ, and is repeated. With a trend it is an
    `episode` [periods], rounded up to whole years, and two years more: episodes begin in the first,
    forecasts look ahead in the last. Where the network has a history or a multiplier, the calendar
    is theirs. Raises ConfigError or NetworkError for seasons that don't fit the periods or these.
    """
    seasons = set(_seasons(network))
    if not seasons:
        return network
    length = _calendar_length(network, seasons, period_name, episode)
    factors: dict[Season, Floats] = {}
    stocks = []
    for stock in network.stocks:
        demand = stock.demand
        if demand is not None and demand.season is not None:
            season = demand.season
            if season not in factors:
                try:
                    factors[season] = season.factors(first, period_name, length)
                except ConfigError as error:
                    raise ConfigError(f"stock '{stock.label}': {error}") from error
            demand = replace(demand, season=None, multiplier=factors[season])
        stocks.append(replace(stock, demand=demand))
    return replace(network, stocks=tuple(stocks))


def _seasons(network: SupplyNetwork) -> list[Season]:
    demands = [stock.demand for stock in network.stocks if stock.demand is not None]
    return [demand.season for demand in demands if demand.season is not None]


def _calendar_length(
    network: SupplyNetwork, seasons: set[Season], period_name: str, episode: int
) -> int:
    week, year = whole_week(period_name), WHOLE_YEAR[period_name]
    for stock in network.stocks:
        if stock.demand is None:
            continue
        for given in (stock.demand.history, stock.demand.multiplier):
            if given is not None and given.size % week and any(s.weekday for s in seasons):
                raise NetworkError(
                    f"demand of '{stock.label}' is given for {given.size} periods, and other "
                    f"demand has a weekday season; expected whole weeks, a multiple of {week}."
                )
            if given is not None:
                return int(given.size)
    if any(season.trend for season in seasons):
        years = 2 - (-episode // year)
        if years > _MOST_YEARS:
            raise NetworkError(
                f"demand has a trend, and an episode is {episode} {period_name}s; expected a "
                f"calendar of at most {_MOST_YEARS} years, got {years}. Shorten horizon or warm_up."
            )
        return years * year
    return year if any(season.yearly for season in seasons) else week
