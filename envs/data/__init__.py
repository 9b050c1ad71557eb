"""Demand from real data."""
