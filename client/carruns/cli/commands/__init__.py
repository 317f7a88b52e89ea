"""The commands of ``carruns``, one a file, in the groups that ``carruns --help`` shows."""
