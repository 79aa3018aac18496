"""Processes and their wiring: each Procfile line is one module, without logic."""
