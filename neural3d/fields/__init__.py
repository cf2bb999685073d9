"""Radiance fields: density and colour as functions of place and direction, and the rays that look at them."""
