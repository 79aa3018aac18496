"""What the campaigns worker does."""
