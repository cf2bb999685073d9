#!/usr/bin/env bash
# One step of the check of a GPU, without a network: ./run.sh build|test|sanitize|train|bench|all [OUT] [OPTIONS ...]
#
# Python comes from PYTHON (by default python3; it must import torch). Everything is unpacked and built in
# NEURAL3D_WORK (by default /tmp/neural3d-gpu-check); nothing is installed. Results are copied to OUT, and so is what
# was built: with gpu_check.json and built.tar.gz beside this script another machine of the kind goes on from there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
work=${NEURAL3D_WORK:-/tmp/neural3d-gpu-check}
step=${1:?say which step: build, test, sanitize, train, bench or all}
out=${2:-$work/out}
shift $(($# < 2 ? $# : 2))

mkdir -p "$work/results" "$out"
out=$(cd "$out" && pwd)
if [ ! -e "$work/unpacked" ]; then
  cp -r "$here/src/." "$work/"
  "$python" -m pip install --quiet --no-index --find-links "$here/wheels" --no-deps --no-compile --upgrade \
    --disable-pip-version-check --root-user-action ignore --target "$work/site" -r "$here/wheels/names.txt"
  if [ -e "$here/built.tar.gz" ]; then tar -xzf "$here/built.tar.gz" -C "$work"; fi
  if [ -e "$here/gpu_check.json" ]; then cp "$here/gpu_check.json" "$work/results/"; fi
  touch "$work/unpacked"
fi

export PYTHONPATH="$work:$work/site" PATH="$work/site/bin:$PATH" PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
export NEURAL3D_DATA="$here/captures" TORCH_EXTENSIONS_DIR="$work/extensions"
NEURAL3D_COMMIT=$(cat "$work/commit.txt")
export NEURAL3D_COMMIT
if [ -z "${TORCH_CUDA_ARCH_LIST:-}" ]; then # gsplat is built for this machine's GPU alone
  arch=$("$python" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability() if torch.cuda.is_available() else "")')
  if [ -n "$arch" ]; then export TORCH_CUDA_ARCH_LIST="$arch"; fi
fi

cd "$work"
status=0
"$python" benchmarks/gpu_check.py "$step" --downscale 1 --results "$work/results" "$@" || status=$?

cp "$work/results/"gpu_check.* "$out/"
tar -czf "$out/logs.tar.gz" -C "$work/build" gpu_check
if [ "$step" = build ] || [ "$step" = all ]; then
  # What is compiled is taken where gsplat looks before it compiles.
  kernels=$(find extensions -name 'gsplat_cuda.so' 2>/dev/null || true)
  if [ -n "$kernels" ]; then
    cp "$kernels" site/gsplat/gsplat_cuda.so
    cp benchmarks/bundle/csrc.py site/gsplat/csrc.py
  fi
  find neural3d site/gsplat -maxdepth 1 \( -name '_native*.so' -o -name 'gsplat_cuda.so' -o -name 'csrc.py' \) \
    -exec tar -czf "$out/built.tar.gz" {} +
fi
exit "$status"
