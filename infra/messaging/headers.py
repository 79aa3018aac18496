"""Names of the headers that Adrelay writes.

Those of a message that is published again count only where it came back over ``adrelay.back``,
which no other publisher may write to. Those about its origin count only where its first publisher
was a broker user of Adrelay (``infra.messaging.origin``); so does ``ACCEPTED``.
"""

# On a message's first publish:
ACCEPTED = "x-adrelay-accepted"  # microseconds since 1970; the ingress writes it at the start
DOOR = "x-adrelay-door"  # by which the ingress accepted it: route and key or user, webhook and slot
OUTBOX = "x-adrelay-outbox"  # when its row in the outbox was written: ISO 8601, UTC

# On a message that is published again:
KEY = "x-adrelay-key"  # the routing key of the first publish
ATTEMPT = "x-adrelay-attempt"  # failed attempts so far
WAITED = "x-adrelay-waited"  # seconds of waiting that failures have cost so far
FIRST_FAILED = "x-adrelay-first-failed"  # ISO 8601, UTC
USER = "x-adrelay-user"  # the user id that the broker validated at the first publish
REPLAYS = "x-adrelay-replays"  # how often a person replayed it
MESSAGE_ID = "x-adrelay-message-id"  # of the first publish
BODY_LENGTH = "x-adrelay-body-length"  # bytes of a body of which only the beginning is here
BODY_SHA256 = "x-adrelay-body-sha256"  # of that whole body, in hexadecimal

# On dead letters:
REASON = "x-adrelay-reason"
ERROR_CLASS = "x-adrelay-error-class"
STAGE = "x-adrelay-stage"  # of the pipeline: delivery, decode, authorize, parse, handler
ATTEMPTS = "x-adrelay-attempts"
LAST_FAILED = "x-adrelay-last-failed"  # ISO 8601, UTC
WORKER = "x-adrelay-worker"  # host name
LEFT_OUT = "x-adrelay-headers-left-out"  # how many headers were too many or too large
UNDECODABLE = "x-adrelay-undecodable"  # headers whose text is not UTF-8, as hexadecimal

PREFIX = "x-adrelay-"
