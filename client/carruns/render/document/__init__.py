"""A run as a document that stands for itself: Markdown, HTML.  Pure."""
