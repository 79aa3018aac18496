"""What we do about events: one module for each worker, and the webhook sources."""
