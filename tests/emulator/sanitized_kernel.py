"""Runs one planted kernel under the sanitizers: python sanitized_kernel.py LIBRARY KERNEL."""

import sys

import torch

library, kernel = sys.argv[1:]
torch.ops.load_library(library)
print(torch.ops.neural3d_planted.run(torch.rand(64), kernel, 1, 16).isfinite().all().item())
