"""Models of requests, answers and platforms: pure pydantic, without I/O or events."""
