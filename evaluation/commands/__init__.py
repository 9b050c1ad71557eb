"""The commands of `echelon` that need no training: one file each."""
