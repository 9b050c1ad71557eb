"""The training job: its phases, checkpoints, export and warm start."""
