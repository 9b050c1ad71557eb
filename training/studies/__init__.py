"""Many trainings: the study behind a report, and the sweep."""
