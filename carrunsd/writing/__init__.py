"""The one writer: what methods put down becomes writes and syncs of run files."""
