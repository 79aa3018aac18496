"""Outgoing HTTP requests and the circuit breaker."""
