"""Everything that touches RLlib's alpha interfaces."""
