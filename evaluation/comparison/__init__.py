"""Policies on the same demand: rollouts, paired differences, tables and plots."""
