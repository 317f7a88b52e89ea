"""One file a case; each has ``run(bench)``, which returns what it found."""
