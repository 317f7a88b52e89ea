"""What ``carruns exec`` is made of: a poll loop, streams and where they go, signals, terminals, starting."""
