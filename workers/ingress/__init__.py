"""The ingress: HTTP calls and signed webhooks become events, and nothing is decided here.

    HTTP ──> protocol ──> edge ──> a route's handler ──> accept ──> adrelay.events
              (bytes)     (ids, who may, errors,          (confirmed and routed, else
                           envelope, metrics)              the outbox, else 503)

``routes`` lists every route once. One noun in each file; ``campaigns``, ``events``,
``webhooks``, ``auth`` and so on hold the handlers.
"""
