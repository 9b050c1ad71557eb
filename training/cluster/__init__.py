"""Jobs, nodes and manifests of a Ray cluster."""
