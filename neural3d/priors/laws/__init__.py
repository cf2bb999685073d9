"""Probability laws of latents, one file each."""
