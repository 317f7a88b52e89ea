"""The machine the daemon runs on: systemd, logs, memory, descriptors."""
