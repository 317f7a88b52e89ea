"""What keeps the store in order: retention, orphans, syncs of what an earlier daemon wrote."""
