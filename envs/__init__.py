"""The simulator: networks, random draws, policies, observations. No Ray, Hydra, MLflow, torch."""
