"""Demand of stores that grow and sell unlike each other, have a season, and hold promotions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.errors import ConfigError
from envs.network.demand import Demand, DemandConfig
from envs.types import Floats

_YEAR = 364  # periods: whole weeks, so that the calendar can be repeated
_STEP = 0.1  # logarithmic grid of means and multipliers: few distinct tables to draw from


@dataclass
class MarketConfig:
    """What customers want."""

    mean: float  # units per period of a typical pair
    store_spread: float  # sd of the logarithm of a store's size
    sku_spread: float  # sd of the logarithm of a SKU's popularity
    dispersion: float  # variance / mean - 1
    correlation: float  # share of the variance that all pairs have in common
    weekdays: list[float]  # 7 factors on the mean, Monday first
    yearly: float  # amplitude of the yearly season; every SKU has its own peak
    promotions: int  # per SKU and year, of a week each, in all stores
    lift_low: float  # factor on demand, uniform from here
    lift_high: float  # to here
    swing: float  # the market of every SKU is low (1 - swing), normal or high (1 + swing), unseen
    swing_periods: float  # how long it stays so on average

    def __post_init__(self) -> None:
        if len(self.weekdays) != 7 or not min(self.weekdays) >= 0.0 or sum(self.weekdays) == 0.0:
            raise ConfigError(
                f"market: weekdays is {list(self.weekdays)}; expected 7 numbers >= 0, not all 0."
            )
        for name in ("yearly", "swing"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"market: {name} is {getattr(self, name)}; expected [0, 1).")
        if not 0 <= self.promotions <= _YEAR // 14:
            raise ConfigError(
                f"market: promotions is {self.promotions}; expected 0 to {_YEAR // 14} per year."
            )
        if not (self.swing_periods > 1.0 and 0.0 < self.lift_low <= self.lift_high):
            raise ConfigError(
                f"market: swing_periods is {self.swing_periods}, lift_low {self.lift_low} and "
                f"lift_high {self.lift_high}; expected > 1, and 0 < lift_low <= lift_high."
            )


def draw_demand(
    config: MarketConfig, stores: int, skus: int, first_weekday: int, rng: np.random.Generator
) -> list[list[Demand]]:
    """Return the demand of every [store][SKU]; equal generators give equal demand.

    first_weekday: of period 0, Monday is 0.
    """
    size = np.exp(config.store_spread * rng.normal(size=stores))
    popularity = np.exp(config.sku_spread * rng.normal(size=skus))
    multiplier = [_calendar(config, first_weekday, rng) for _ in range(skus)]
    return [
        [_demand(config, config.mean * size[j] * popularity[k], multiplier[k]) for k in range(skus)]
        for j in range(stores)
    ]


def _demand(config: MarketConfig, mean: float, multiplier: Floats) -> Demand:
    mean = float(_on_grid(np.array(mean)))
    process = DemandConfig("poisson", mean=mean)
    if config.dispersion > 0.0:
        sd = math.sqrt(mean * (1.0 + config.dispersion))
        process = DemandConfig("negative_binomial", mean=mean, standard_deviation=sd)
    return Demand.from_config(process, _YEAR, multiplier=multiplier, correlation=config.correlation)


def _calendar(config: MarketConfig, first_weekday: int, rng: np.random.Generator) -> Floats:
    """[364] factors on a SKU's mean demand, about 1 on average."""
    week, day = np.arange(_YEAR) // 7, (np.arange(_YEAR) + first_weekday) % 7
    peak = rng.integers(_YEAR // 7)
    season = 1.0 + config.yearly * np.cos(2.0 * np.pi * (week - peak) * 7 / _YEAR)
    lift = np.ones(_YEAR // 7)
    # Every other week at most: shoppers' cupboards are full after a promotion.
    weeks = 2 * rng.permutation(_YEAR // 14)[: config.promotions] + rng.integers(2)
    lift[weeks] = rng.uniform(config.lift_low, config.lift_high, config.promotions)
    factor = season * np.array(config.weekdays)[day] * lift[week]
    return _on_grid(factor / factor.mean())


def _on_grid(values: Floats) -> Floats:
    """Round to steps of 10 %; 0 stays 0."""
    steps = np.round(np.log(np.maximum(values, 1e-9)) / _STEP)
    return np.where(values > 0.0, np.round(np.exp(_STEP * steps), 6), 0.0)
