"""Models as files that other programs open, in the frame and the units of the capture."""
