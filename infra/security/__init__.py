"""Tokens, keys, passwords, encryption and signatures."""
