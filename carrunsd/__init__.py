"""carrunsd: the daemon that owns a car directory's runs, and the store it is built on."""

from carruns.protocol.version import __version__

__all__ = ["__version__"]
