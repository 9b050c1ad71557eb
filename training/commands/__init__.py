"""The commands of `echelon` that train: one file each."""
