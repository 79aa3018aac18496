"""The form of a dead letter: one row for each field that the JSON schema of its type has."""
