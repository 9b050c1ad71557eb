"""The simulator's period in torch, for pathwise gradients."""
