"""Runs, their files and metrics, and how they get to MLflow."""
