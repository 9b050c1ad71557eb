"""Demand from real data."""

from envs.data.grocery import GroceryDemand, GrocerySettings, build_grocery_demand
from envs.data.grocery_files import load_grocery_demand

__all__ = ["GroceryDemand", "GrocerySettings", "build_grocery_demand", "load_grocery_demand"]
