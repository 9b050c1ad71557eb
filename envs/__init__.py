"""The simulator: networks of lanes, chance, policies, observations. No Ray, Hydra, MLflow, torch."""
