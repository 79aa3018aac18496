"""The sandbox: an HTTP server that simulates the three ad platforms, each with its own API.

    /claude /chatgpt /gemini   token, create, update, pause, resume, delete, status
    /_control                  fault injection, request log, webhooks on demand
    /healthz /readyz           probes

It is started with ``python -m infra.sandbox`` and is never part of the Procfile. It sends signed
webhooks to ``ADRELAY_URL``: metrics that grow for every active campaign and, without being told,
status changes of campaigns whose name begins with "Seeded ". Everything it stores has a maximum
size. With ``SANDBOX_STATE`` its campaigns survive a restart; without it they are lost, and an
update of one is answered with 404.
"""
