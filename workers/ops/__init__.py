"""The console: pages where admins see what happens, and mend it.

    request -> middleware (ids, errors, headers) -> session -> CSRF for a POST -> page -> template

It reads through the functions of ``infra`` that the API uses, and acts through the same audited
writes. It holds no keys: a login is a request to the auth worker.
"""
