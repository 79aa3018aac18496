"""Requests, responses, errors and limits; knows no resource."""
