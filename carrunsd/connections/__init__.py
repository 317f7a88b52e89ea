"""Connections: bytes in, bytes out, and what each may take of the daemon."""
