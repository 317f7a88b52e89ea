"""Records as lines of text.  Pure: what a terminal can do, and what time it is, are given."""
