"""The sandbox: a real HTTP server that plays the three ad platforms, each in its own words.

    /claude /chatgpt /gemini   token, create, update, pause, resume, delete, status
    /_control                  faults on request, what was called, webhooks on demand
    /healthz /readyz           probes

It is started with ``python -m infra.sandbox`` and never stands in the Procfile. It sends
signed webhooks to ``ADRELAY_URL``: figures that grow for every active campaign, and changes
of status, of themselves only for campaigns whose name begins with "Seeded ". Everything it
holds is bounded. With ``SANDBOX_STATE`` its campaigns survive a restart; without it, they
are gone afterwards, and an update of one is answered with 404.
"""
