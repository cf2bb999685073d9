"""torch.compile takes a whole render as one graph, and gives the same image and gradients."""

import torch
from native_arguments import render, scene

leaves = scene()
compiled = torch.compile(render, fullgraph=True, backend="aot_eager")
results = []
for function in (render, compiled):
    image, alphas = function(**leaves)
    grads = torch.autograd.grad(image.square().sum() + alphas.sum(), list(leaves.values()))
    results.append([image, alphas, *grads])
assert all(map(torch.equal, *results)), "compiled and eager differ"
assert all(grad.abs().max() > 0 for grad in results[0][2:])
