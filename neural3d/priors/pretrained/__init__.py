"""Weights of the user's own, in folders as diffusers and transformers write them; nothing is fetched."""
