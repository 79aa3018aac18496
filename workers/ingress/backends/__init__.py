"""What the ingress talks to: broker, outbox, database, auth worker."""
