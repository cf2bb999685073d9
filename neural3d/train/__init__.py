"""Training: photos in, a model out, and everything that watches or steers it on the way."""
