"""The asynchronous client, for asyncio (uvloop too) and trio.  ``sync`` is made from what stands here."""

from .client import AsyncClient
from .run import AsyncRun
from .subscriptions import AsyncSubscription, AsyncWatch

__all__ = ["AsyncClient", "AsyncRun", "AsyncSubscription", "AsyncWatch"]
