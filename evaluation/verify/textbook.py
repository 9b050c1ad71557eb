"""Cases with a formula or a dynamic programme of their own."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import numpy as np
from scipy import stats

from envs.types import Floats
from evaluation.optima.eoq import economic_order_quantity, lot_under_disruptions
from evaluation.optima.finite_horizon import finite_horizon
from evaluation.optima.guaranteed_service import Stage, place_safety_stock
from evaluation.optima.perishable import (
    Issue,
    Perishable,
    discounted_base_stock,
    discounted_perishable,
)
from evaluation.optima.r_q import best_reorder_point
from evaluation.optima.single_period import with_additive_yield
from evaluation.verify.case import Case, NotRunnable, Row

_DIGITS = 1e-4  # relative: what printed levels and quantities leave open
_GAMMA = re.compile(
    r"round\(\s*gamma\(\s*mean\s*=?\s*([\d.]+)\s*,\s*cov\s*=?\s*([\d.]+)\s*\)\s*\).*"
)


def _listed(case: Case, name: str, got: float, began: float) -> Iterator[Row]:
    wanted = case.heuristics.get(name)
    if wanted is not None:
        wanted = float(wanted)
        yield case.row(name, wanted, got, began, _DIGITS * max(1.0, abs(wanted)))


def perishable(case: Case) -> Iterator[Row]:
    """De Moor, Gijsbrechts and Boute (2022): lost sales, fifo or lifo, discounted."""
    began = time.perf_counter()
    item = Perishable(
        _rounded_gamma(str(case.params.get("demand"))), case.whole("m"), case.whole("L"),
        Issue(str(case.params.get("issue"))), case.number("c"), case.number("s"),
        case.number("h"), case.number("w"), case.whole("Qmax"),
    )  # fmt: skip
    discount = case.number("gamma")
    yield case.optimum(discounted_perishable(item, discount), began)
    known = case.heuristics.get("best_base_stock")
    if known is not None:
        began = time.perf_counter()
        cost = discounted_base_stock(item, int(known["S"]), discount)
        allowed = case.tolerance if case.judged("best_base_stock") else None
        yield case.row("best_base_stock", known["value"], cost, began, allowed)


def _rounded_gamma(text: str) -> Floats:
    """Probabilities of a gamma variable rounded to whole units: `round(Gamma(mean 4, cov .5))`."""
    found = _GAMMA.fullmatch(text.strip().lower())
    if found is None:
        raise NotRunnable(f"demand '{text}' isn't of the form round(Gamma(mean 4, cov .5))")
    mean, shape = float(found[1]), 1.0 / float(found[2]) ** 2
    demand = stats.gamma(shape, scale=mean / shape)
    count = int(demand.ppf(1.0 - 1e-9)) + 2
    pmf: Floats = np.diff(demand.cdf(np.arange(count) + 0.5), prepend=0.0)
    return pmf / pmf.sum()


def lot_size(case: Case) -> Iterator[Row]:
    """The economic order quantity, or (r, Q) where a lead time is given."""
    began = time.perf_counter()
    if "L" not in case.params:
        lot = economic_order_quantity(case.number("K"), case.number("h"), case.number("d"))
        yield case.optimum(lot.cost, began)
        yield from _listed(case, "Q*", lot.quantity, began)
        return
    lead, rate = case.number("L"), case.number("lam")
    found = best_reorder_point(
        case.number("K"), case.number("h"), case.number("p"), rate, rate * lead,
        case.number("sd") * lead**0.5,
    )  # fmt: skip
    yield case.optimum(found.cost, began)
    yield from _listed(case, "r*", found.reorder_point, began)
    yield from _listed(case, "Q*", found.quantity, began)


def finite(case: Case) -> Iterator[Row]:
    """One item over T periods, discounted, from a given stock."""
    began = time.perf_counter()
    text = re.fullmatch(r"poisson\(?([\d.]+)\)?", str(case.params.get("demand")).lower())
    if text is None or case.number("L", 0.0) != 0.0:
        raise NotRunnable(f"demand '{case.params.get('demand')}' isn't Poisson without a lead time")
    demand = stats.poisson(float(text[1]))
    pmf = np.asarray(demand.pmf(np.arange(int(demand.ppf(1.0 - 1e-13)) + 2)), float)
    found = finite_horizon(
        pmf / pmf.sum(), case.whole("T"), case.number("h"), case.number("p"), case.number("c"),
        case.number("K"), case.number("gamma"), case.whole("x0"),
    )  # fmt: skip
    yield case.optimum(found.cost, began)
    yield from _listed(case, "first-period S", found.order_up_to_level, began)


def disruption(case: Case) -> Iterator[Row]:
    """The economic order quantity with a supplier that is down at times."""
    began = time.perf_counter()
    lot = lot_under_disruptions(
        case.number("K"), case.number("h"), case.number("p"), case.number("d"),
        case.number("lam"), case.number("mu"),
    )  # fmt: skip
    yield case.optimum(lot.cost, began)
    yield from _listed(case, "Q*", lot.quantity, began)


def additive_yield(case: Case) -> Iterator[Row]:
    """One period, known demand, a uniform surplus or shortfall of what arrives."""
    began = time.perf_counter()
    text = re.fullmatch(
        r"u\(\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*\)", str(case.params.get("Y")).lower()
    )
    if text is None:
        raise NotRunnable(f"yield '{case.params.get('Y')}' isn't of the form U(-.5,.5)")
    low, high = float(text[1]), float(text[2])
    noise = stats.uniform(low, high - low)
    found = with_additive_yield(case.number("d"), noise, case.number("h"), case.number("p"))
    yield case.optimum(found.cost, began)
    yield from _listed(case, "S*", found.level, began)


def safety_stock(case: Case) -> Iterator[Row]:
    """Guaranteed service over a tree: `params.stages` lists it."""
    stages = case.params.get("stages")
    if not isinstance(stages, list):
        raise NotRunnable("params.stages is missing: a name alone doesn't say which network it is")
    began = time.perf_counter()
    found = place_safety_stock(
        [Stage(**{**stage, "suppliers": tuple(stage.get("suppliers", ()))}) for stage in stages],
        case.number("z"),
    )
    yield case.optimum(found.cost, began)
    for name, wanted in case.heuristics.get("CST", {}).items():
        yield case.row(f"service time of {name}", wanted, found.service_times[name], began)
