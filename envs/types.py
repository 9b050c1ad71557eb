"""Types of arrays, as signatures name them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]  # what agents see and do, and their rewards
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Keys = NDArray[np.uint64]  # [B] of the episodes' streams of random numbers
Matrix = Any  # SciPy's sparse matrices
