"""The synchronous client.  ``run``, ``client`` and ``feeds`` are made from ``aio`` (``make sync``)."""

from .client import Client
from .feeds import Subscription, Watch
from .run import Run

__all__ = ["Client", "Run", "Subscription", "Watch"]
