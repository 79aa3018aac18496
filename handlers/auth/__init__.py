"""What the auth worker does."""
