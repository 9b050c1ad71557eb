"""Given orders on given demand, period by period."""
