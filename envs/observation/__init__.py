"""What agents see of pairs, lanes, companions; what a centralised critic sees."""
