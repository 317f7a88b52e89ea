"""One way to look at runs: the daemon where one answers, the files where none does."""
