"""Experiment configuration: YAML values, their schemas, and how a command composes them."""
