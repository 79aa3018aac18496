"""The benchmark: what an event costs here, and what the same work costs with its peers."""
