"""The synchronous client.  ``run``, ``client`` and ``feeds`` are made from ``aio`` (``make sync``)."""

from .client import Client
from .run import Run
from .subscriptions import Subscription, Watch

__all__ = ["Client", "Run", "Subscription", "Watch"]
