"""Shapes of the outside world: pure pydantic, no I/O, no knowledge of the bus."""
