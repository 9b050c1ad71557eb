"""What a network is made of: nodes, SKUs, stocks, lanes, resources, regimes and their processes."""
