"""Detecting base-stock: order around a supplier that seems to be down, though nobody says so.

What a buyer sees of a hidden failure is goods that don't come. A lane is suspected when what is
overdue on it is more than `patience` periods of the demand it should bring. A suspected lane loses
its share to the lanes that still deliver; its overdue goods no longer count as coming; and the
level is raised, as the other lanes may fail too. When the goods come, suspicion ends.

This is the status-aware base-stock (Song and Zipkin 1996) with the status inferred from receipts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["DetectingBaseStock"]

Floats = NDArray[np.float64]
