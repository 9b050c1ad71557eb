"""A small decision tree over scenarios that predicts the value of learning on a new network.

It is fitted on as many rows as there are scenarios in the report: a dozen or two. It sums up what
was measured, in words; its leave-one-out accuracy shows how reliable it is, beside that of always
predicting the most frequent verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from evaluation.value.features import FEATURES

_NAMES = tuple(FEATURES)
_DEPTH = 3
_SMALLEST_LEAF = 2


@dataclass(frozen=True)
class Advice:
    """What the tree says of a network."""

    verdict: str  # the leaf's commonest
    counts: Mapping[str, int]  # scenarios in the leaf by verdict
    path: tuple[str, ...]  # conditions

    def text(self) -> str:
        """In one line."""
        of = ", ".join(f"{count} x {name}" for name, count in sorted(self.counts.items()))
        why = " and ".join(self.path) or "no condition"
        return f"{self.verdict} ({of}; {why})"


@dataclass(frozen=True)
class VerdictTree:
    """The fitted tree, and the share of scenarios predicted right by others' data alone."""

    classifier: DecisionTreeClassifier
    features: np.ndarray
    verdicts: tuple[str, ...]
    leave_one_out: float  # by a tree fitted on the others
    commonest: float  # by always predicting the others' commonest verdict

    def advise(self, features: Mapping[str, float]) -> Advice:
        """Return what the tree predicts for a network with these features."""
        row = _row(features)[None, :]
        leaf = int(self.classifier.apply(row)[0])
        own = self.classifier.apply(self.features) == leaf
        counts = Counter(v for v, inside in zip(self.verdicts, own, strict=True) if inside)
        return Advice(str(self.classifier.predict(row)[0]), counts, self._path(row))

    def rules(self) -> str:
        """Return the tree as indented text, one line per condition or leaf."""
        return "\n".join(self._lines(0, 0))

    def _lines(self, node: int, depth: int) -> list[str]:
        tree, indent = self.classifier.tree_, "    " * depth
        if tree.children_left[node] < 0:
            inside = self.classifier.apply(self.features) == node
            counts = Counter(v for v, i in zip(self.verdicts, inside, strict=True) if i)
            verdict = str(self.classifier.classes_[int(np.argmax(tree.value[node][0]))])
            of = ", ".join(f"{count} x {name}" for name, count in sorted(counts.items()))
            return [f"{indent}-> {verdict}   ({of})"]
        name, limit = _NAMES[tree.feature[node]], tree.threshold[node]
        return [
            f"{indent}if {name} <= {limit:.3g}:",
            *self._lines(tree.children_left[node], depth + 1),
            f"{indent}else ({name} > {limit:.3g}):",
            *self._lines(tree.children_right[node], depth + 1),
        ]

    def _path(self, row: np.ndarray) -> tuple[str, ...]:
        tree, node, path = self.classifier.tree_, 0, []
        while tree.children_left[node] >= 0:
            name, limit = _NAMES[tree.feature[node]], tree.threshold[node]
            left = row[0, tree.feature[node]] <= limit
            path.append(f"{name} {'<=' if left else '>'} {limit:.3g}")
            node = tree.children_left[node] if left else tree.children_right[node]
        return tuple(path)


def fit_tree(
    features: Sequence[Mapping[str, float]], verdicts: Sequence[str]
) -> VerdictTree | None:
    """Fit the tree; None with fewer than four scenarios, where there is nothing to generalise."""
    if len(verdicts) < 4:
        return None
    rows = np.array([_row(f) for f in features])
    labels = np.array(verdicts)
    right = commonest = 0
    for i in range(len(labels)):
        others = np.arange(len(labels)) != i
        fitted = _fit(rows[others], labels[others])
        right += int(fitted.predict(rows[i : i + 1])[0] == labels[i])
        usual = Counter(labels[others].tolist()).most_common(1)[0][0]
        commonest += int(usual == labels[i])
    share = 1.0 / len(labels)
    return VerdictTree(_fit(rows, labels), rows, tuple(verdicts), right * share, commonest * share)


def _fit(rows: np.ndarray, labels: np.ndarray) -> DecisionTreeClassifier:
    tree = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=_SMALLEST_LEAF, random_state=0)
    return tree.fit(rows, labels)


def _row(features: Mapping[str, float]) -> np.ndarray:
    return np.array([features[name] for name in _NAMES], float)
