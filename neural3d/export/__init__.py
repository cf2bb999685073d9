"""Files that other programs open, in the capture's own frame and units."""
