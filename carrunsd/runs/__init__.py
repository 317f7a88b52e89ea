"""Which runs there are: in memory, on disk, and where in their files readers are."""
