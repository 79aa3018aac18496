"""What is done about events: one folder for each worker, and the webhook sources."""
