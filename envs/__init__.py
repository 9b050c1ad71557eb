"""The simulator: lanes, chance, policies, observations. No Ray, Hydra, MLflow, torch."""
