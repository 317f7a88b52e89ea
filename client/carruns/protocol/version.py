"""The version of this distribution, as the handshake tells it."""

VERSION = "0.1.0"
