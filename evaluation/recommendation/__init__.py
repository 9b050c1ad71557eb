"""Snapshot in, order lines out: what serving and every other caller of a policy share."""
