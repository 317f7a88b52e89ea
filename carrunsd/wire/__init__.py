"""The wire as bytes and types: requests, answers, errors, cutting.  Pure."""
