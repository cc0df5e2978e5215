#!/usr/bin/env bash
# All that needs a GPU, in one call on a machine that has one and is lent for minutes: the CUDA tests, with those of the
# switches and updates that they rest on, then the timings.
#
#   OUT=DIR bash benchmarks/gpu_session.sh
#
# Into $OUT (gpu-session by default): machine.txt, tests.log, timings.log, gpu.json. Wheels of what Python lacks there
# (captum, pydantic, pydantic-core, annotated-types, typing-inspection; nvidia-ml-py for the load) are taken from .whl, if
# there is one. Each part has its own limit, TESTS and TIMINGS in seconds, so that one that hangs costs the others
# nothing; PARTS chooses timings, and SUITE=1 runs all other tests after them as well. A second call for what takes
# minutes, the riskiest last: TESTS=0 TIMINGS=560 PARTS="--only scenes --only epoch --only streets --only
# graphs". What both wrote goes onto the page where git is: python -m benchmarks.gpu_section FIRST/gpu.json SECOND/gpu.json
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-gpu-session}
mkdir -p "$OUT"
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
PYTHON=${PYTHON:-python3}
if compgen -G ".whl/*.whl" > /dev/null; then
  $PYTHON -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl || exit
  export PYTHONPATH=/tmp/site${PYTHONPATH:+:$PYTHONPATH}
fi
if ! $PYTHON -c "import importlib.metadata as m; m.version('csg-toolkit')" 2> /dev/null; then  # every checkpoint records it
  about=$(mktemp -d)
  mkdir "$about/csg_toolkit.dist-info"
  printf 'Metadata-Version: 2.1\nName: csg-toolkit\nVersion: 0+session\n' > "$about/csg_toolkit.dist-info/METADATA"
  export PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$about
fi
{
  git rev-parse HEAD 2> /dev/null
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  $PYTHON -c "import os, torch, torchvision; print(torch.__version__, torchvision.__version__, len(os.sched_getaffinity(0)), 'cores')"
} 2>&1 | tee "$OUT/machine.txt"

failed=0
TESTED="tests/cuda tests/train/test_devices.py tests/train/engine/test_precision.py tests/train/methods/test_proximal.py"
parallel() { $PYTHON -c "import xdist; print('-n 8 --dist $1')" 2> /dev/null || echo "-p no:xdist"; }
if [ "${TESTS:-}" != 0 ]; then
  timeout -s INT -k 20 "${TESTS:-220}" $PYTHON -m pytest $(parallel worksteal) -vv --tb=short \
    --durations=10 --continue-on-collection-errors $TESTED 2>&1 | tee "$OUT/tests.log" | tail -40 || failed=1
fi
OMP_NUM_THREADS=8 timeout -k 20 "${TIMINGS:-310}" $PYTHON -m benchmarks.gpu --out "$OUT/gpu.json" ${PARTS:---only energies --only steps --only measures} ${GPU_OPTIONS:-} 2>&1 | tee "$OUT/timings.log" || failed=1
if [ "${SUITE:-}" ]; then
  timeout -s INT -k 20 "${SUITE_LIMIT:-500}" $PYTHON -m pytest $(parallel loadfile) -m "not cuda" \
    --continue-on-collection-errors 2>&1 | tee "$OUT/suite.log" | tail -60 || failed=1
fi
exit $failed
