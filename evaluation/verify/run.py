"""Which checker runs which family of cases, and the run itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from envs.errors import ConfigError, DataError, did_you_mean
from evaluation.verify import chains, joint, single, textbook
from evaluation.verify.case import Case, NotRunnable, Row

CHECKERS: dict[str, Callable[[Case], Iterator[Row]]] = {
    "lost_sales": single.lost_sales,
    "single_location_sS": single.fixed_cost,
    "dual_sourcing": single.dual_sourcing,
    "disruption_markov": single.outage,
    "hidden_regime": single.hidden_regime,
    "joint_replenishment": joint.full_trucks,
    "joint_fixed_cost": joint.joint_fixed_cost,
    "serial": chains.serial,
    "beer_game": chains.beer_game,
    "perishable": textbook.perishable,
    "single_location": textbook.lot_size,
    "single_location_finite": textbook.finite,
    "disruption": textbook.disruption,
    "yield": textbook.additive_yield,
    "gsm": textbook.safety_stock,
}
RUN: dict[str, tuple[str, ...]] = {
    "lost_sales": ("best_base_stock", "capped_base_stock", "constant_order", "myopic"),
    "single_location_sS": ("optimal (s,S)",),
    "dual_sourcing": (
        "single_index", "dual_index", "capped_dual_index", "tailored_base_surge",
    ),
    "disruption_markov": ("status_aware", "static"),
    "hidden_regime": ("static", "ewma", "bayes", "oracle"),
    "joint_fixed_cost": ("can_order", "periodic_review", "independent_s_s"),
    "serial": ("echelon S*", "echelon S* (1=downstream)", "on-hand only", "backorder",
               "in-transit", "local S*"),
    "beer_game": ("anchor_adjust optimal", "base_stock"),
    "perishable": ("best_base_stock",),
    "single_location": ("Q*", "r*"),
    "single_location_finite": ("first-period S",),
    "disruption": ("Q*",),
    "yield": ("S*",),
    "gsm": ("CST",),
}  # fmt: skip
"""Which heuristics of a family its checker runs."""
_FAST = 3  # every third case of a family
# Seconds per case: the first one only.
_SLOW_FAMILIES = ("hidden_regime", "dual_sourcing", "disruption_markov")


def chosen(cases: Iterable[Case], families: list[str], ids: list[str], fast: bool) -> list[Case]:
    """Return the selected cases; empty lists select all. Raises ConfigError for unknown ones."""
    every = list(cases)
    for names, known, what in (
        (families, {c.family for c in every}, "families"),
        (ids, {c.id for c in every}, "ids"),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(f"{what}: '{name}' is in no case.{did_you_mean(name, known)}")
    kept = [c for c in every if not families or c.family in families]
    kept = [c for c in kept if not ids or c.id in ids]
    if not fast:
        return kept
    place: dict[str, int] = {}
    few = []
    for case in kept:
        place[case.family] = place.get(case.family, -1) + 1
        stride = len(kept) if case.family in _SLOW_FAMILIES else _FAST
        if place[case.family] % stride == 0:
            few.append(case)
    return few


def verify(case: Case) -> list[Row]:
    """Run one case. What can't be run is a row that says why, failed where a number is judged."""
    checker = CHECKERS.get(case.family)
    judged = case.optimal is not None or any(map(case.judged, case.heuristics))
    if checker is None:
        why = f"no checker for family '{case.family}'"
        return [Row(case.id, case.family, "all", case.optimal, note=why, failed=judged)]
    rows: list[Row] = []
    try:
        for row in checker(case):
            rows.append(row)  # one by one: those before an error stay
    except (NotRunnable, DataError) as why:
        note = str(why)
        rows.append(Row(case.id, case.family, "the rest", case.optimal, note=note, failed=judged))
    except Exception as error:
        note = f"{type(error).__name__}: {error}"
        rows.append(Row(case.id, case.family, "the rest", case.optimal, note=note, failed=True))
    left = [name for name in case.heuristics if name not in RUN.get(case.family, ())]
    for name in left:
        if isinstance(case.heuristics[name], Mapping) and case.heuristics[name].get("verified"):
            rows.append(Row(case.id, case.family, name, note="no such policy here"))
            left = [one for one in left if one != name]
    if left:
        rows.append(Row(case.id, case.family, "unverified", note=f"listed only: {', '.join(left)}"))
    return rows
