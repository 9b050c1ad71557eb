"""The numbered events of a period, one file each.

`_close_period` and `_open_period` of envs/simulation/simulator.py call them in order.

Every event works on one tile of the batch, columns lo to hi of each array, so that a tile's state
stays in cache from the first event to the last. Rows are sliced before the loop over the tile:
that is what lets the compiler vectorise it.
"""
