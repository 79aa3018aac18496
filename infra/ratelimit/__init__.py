"""Rate limits that every process shares."""
