"""The numbered events of a period, one file each.

`_close_period` and `_open_period` of envs/simulation/simulator.py call them in order.

Every event works on one tile of the batch, columns lo to hi of each array, so that a tile's state
stays in cache from the first event to the last. Rows are sliced before the loop over the tile:
that is what lets the compiler vectorise it.
"""

from envs.simulation.events.account import account
from envs.simulation.events.believe import believe_receipts, forget_receipts, note_orders
from envs.simulation.events.observe import observe
from envs.simulation.events.order import decide, order
from envs.simulation.events.receive import receive, receive_at_once
from envs.simulation.events.serve import serve
from envs.simulation.events.ship import ship

__all__ = [
    "account",
    "believe_receipts",
    "decide",
    "forget_receipts",
    "note_orders",
    "observe",
    "order",
    "receive",
    "receive_at_once",
    "serve",
    "ship",
]
