"""The asynchronous client, for asyncio (uvloop too) and trio.  ``sync`` is made from what stands here."""

from .client import AsyncClient
from .feeds import AsyncSubscription, AsyncWatch
from .run import AsyncRun

__all__ = ["AsyncClient", "AsyncRun", "AsyncSubscription", "AsyncWatch"]
