"""All chance: tables, draws and random streams."""
