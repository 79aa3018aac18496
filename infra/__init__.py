"""Broker, storage, security, platforms and the life of a message."""
