"""carrunsd: the daemon that owns a car directory's runs, and the store it is built on."""

__version__ = "0.1.0"
