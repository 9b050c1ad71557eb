"""Agreement with the literature: every case the project holds, run again."""
