"""Textures completed, restyled and edited with priors of images."""
