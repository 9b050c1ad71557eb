"""Pathwise gradients: trajectories, played forwards by the simulator and backwards by its
reverse."""
