"""The version of this distribution, in one place: the build, both packages and the handshake take it from here."""

VERSION = "0.1.0"
__version__ = VERSION
