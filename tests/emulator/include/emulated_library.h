// Included before every source: registers what is meant for CUDA under a namespace of its own, for CPU tensors.
#pragma once

#include <torch/csrc/stable/library.h>

#undef STABLE_TORCH_LIBRARY
#undef STABLE_TORCH_LIBRARY_IMPL
// The detour lets the namespace, which is a macro, be replaced before it is pasted into names.
#define N3D_FRAGMENT(ns, m) STABLE_TORCH_LIBRARY_FRAGMENT(ns, m)
#define N3D_IMPL(ns, m) _STABLE_TORCH_LIBRARY_IMPL(ns, CPU, m, C10_UID)
#define STABLE_TORCH_LIBRARY(ns, m) N3D_FRAGMENT(N3D_EMULATED, m)
#define STABLE_TORCH_LIBRARY_IMPL(ns, key, m) N3D_IMPL(N3D_EMULATED, m)
