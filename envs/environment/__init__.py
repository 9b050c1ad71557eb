"""The batched environment and its views for RLlib, PettingZoo and Gymnasium."""
