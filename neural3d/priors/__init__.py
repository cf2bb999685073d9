"""Generative priors of images, trained on a folder of photos without any downloaded weights: `Prior = Codec . Law`."""
