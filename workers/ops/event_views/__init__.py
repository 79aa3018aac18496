"""What pages say about events: pure functions from what is known to what is shown."""
