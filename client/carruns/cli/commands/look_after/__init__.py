"""Commands that look after the daemon and the store."""
