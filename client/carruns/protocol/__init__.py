"""What both ends share, and all that the daemon imports of this package."""
