"""The pages: one module each, with ``async def show(request) -> Page``."""
