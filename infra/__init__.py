"""Machinery that knows no business: one noun in each file."""
