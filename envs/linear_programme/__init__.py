"""The network over a horizon as a linear programme."""
