"""Rate limits: shared windows in Redis, and token buckets in the memory of one process."""
