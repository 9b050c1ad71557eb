"""What no policy can beat: exact optima of small problems, bounds for the others."""
