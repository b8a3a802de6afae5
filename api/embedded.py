"""A dispatcher inside the server's own process: `serve --workers local|ray`. The one place of the API that starts workers."""

from __future__ import annotations

from services.container import Services

from .settings import Settings


def dispatcher(services: Services, settings: Settings):  # type: ignore[no-untyped-def]
    """The dispatcher with its pool, not yet started; None for `workers=none`."""
    if settings.workers == "none":
        return None
    from workers.main import build_dispatcher

    return build_dispatcher(
        services.suggesting,
        services.wakeups,
        services.ledger,
        services.profiles,
        pool=settings.workers,
        processes=settings.processes,
        memory_limit_mib=settings.memory_limit_mib,
        ray_address=settings.ray_address,
    )
