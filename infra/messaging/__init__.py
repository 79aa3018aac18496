"""The life of a message: read, decode, authorize, process, retry, dead-letter, inbox, outbox."""
