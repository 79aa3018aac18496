"""The alerts that fire now: as Prometheus tells them, or as the console itself sees them."""
