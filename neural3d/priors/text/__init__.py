"""Text and images in one space: measured captions, the embedding, priors that are told what to draw."""
