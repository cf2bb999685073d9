"""Priors without weights: texels are copied from the images that they were given."""
