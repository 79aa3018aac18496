"""The ingress: turns HTTP requests and signed webhooks into events.

    HTTP -> http.server -> endpoint -> api -> backends.durable_publisher -> adrelay.events
            (bytes)        (ids, authentication,         (confirmed and routed,
                            rate limit, errors, metrics)  else the outbox, else 503)

``routes`` is the route table. Imports go one way: ``http`` <- ``backends`` <- ``state`` <-
``context`` <- ``route`` <- ``api``, ``docs`` <- ``endpoint``, ``routes`` <- ``app``.
"""
