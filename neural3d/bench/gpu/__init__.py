"""Measures a GPU beside gsplat, on the same data in the same run: what benchmarks/gpu_check.py puts together."""
