"""The sync worker: pushes campaigns to the platforms and checks their statuses."""
