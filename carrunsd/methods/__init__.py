"""The methods of the wire, one file a group, named as on the wire."""
