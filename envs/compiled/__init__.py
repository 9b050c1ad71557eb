"""A network as arrays that kernels read."""
