"""What the sync worker does."""
