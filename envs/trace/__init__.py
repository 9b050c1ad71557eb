"""Random draws: tables, draws and random streams."""
