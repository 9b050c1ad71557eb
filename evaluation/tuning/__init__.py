"""The search for the best parameters of a classical policy."""
