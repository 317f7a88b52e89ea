"""What ``carruns doctor`` looks at beside the run files, each kind of thing in a file of its own."""
