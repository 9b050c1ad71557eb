"""What stands before Ray Serve's proxy: keys, limits, time-outs, metrics and the access log.

Serve's proxy calls `middlewares` when it starts, by the environment variable that `serving.app`
sets. What is refused here never takes a place in a replica.
"""

__all__: list[str] = []
