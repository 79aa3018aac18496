"""Postgres and its campaign cache: one file of queries for each noun, the connection first.

A query function takes the connection of the caller's transaction as its first argument; the caller
commits. Rows go in and come out as frozen values.
"""
