"""The verdict tree: finds a rule that is there, and says so where none is."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.value.features import FEATURES
from evaluation.value.tables import tree_text
from evaluation.value.tree import fit_tree


def row(**features: float) -> dict[str, float]:
    """All features at 1, save these."""
    return {**dict.fromkeys(FEATURES, 1.0), **features}


def test_it_finds_the_feature_that_decides() -> None:
    """Learning pays exactly where something is hidden."""
    rows = [row(hidden_state=float(i % 2), lead_time=float(i // 2)) for i in range(12)]
    verdicts = ["use learning" if f["hidden_state"] else "tie: keep the rule" for f in rows]
    tree = fit_tree(rows, verdicts)
    assert tree is not None
    assert tree.leave_one_out == pytest.approx(1.0)
    assert tree.commonest < 0.6
    advice = tree.advise(row(hidden_state=1.0, lead_time=50.0))
    assert (advice.verdict, dict(advice.counts)) == ("use learning", {"use learning": 6})
    assert advice.path == ("hidden_state > 0.5",)
    assert "if hidden_state <= 0.5:" in tree.rules()
    assert "better than guessing" in tree_text(tree, 12)


def test_noise_is_not_sold_as_a_forecast() -> None:
    """Verdicts drawn at random: left-out scenarios are guessed no better than by the commonest."""
    rng = np.random.default_rng(0)
    rows = [row(lead_time=x, demand_cv=y) for x, y in rng.random((14, 2))]
    verdicts = [["use learning", "tie: keep the rule"][i] for i in rng.integers(0, 2, 14)]
    tree = fit_tree(rows, verdicts)
    assert tree is not None
    assert tree.leave_one_out < 0.75  # a tree that has seen its answers would have about 0.9
    seen = [tree.advise(f).verdict == v for f, v in zip(rows, verdicts, strict=True)]
    assert np.mean(seen) > tree.leave_one_out


def test_one_verdict_everywhere_is_one_leaf() -> None:
    """And no better than guessing."""
    tree = fit_tree([row(lead_time=float(i)) for i in range(5)], ["tie: keep the rule"] * 5)
    assert tree is not None
    assert tree.rules() == "-> tie: keep the rule   (5 x tie: keep the rule)"
    assert "no better than guessing" in tree_text(tree, 5)


def test_three_scenarios_make_no_tree() -> None:
    """There is nothing to generalise from."""
    assert fit_tree([row()] * 3, ["tie: keep the rule"] * 3) is None
    assert "it takes four" in tree_text(None, 3)
