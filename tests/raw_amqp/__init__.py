"""An AMQP 0-9-1 writer of the tests' own, and messages that no client library would write.

It is written from the specification alone: what the product's decoder and its client library
get wrong, this does not get wrong in the same way.
"""
