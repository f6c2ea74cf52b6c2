#!/usr/bin/env bash
# Installs what the scripts of this directory need, and prints the Python that has it.
#
#   scripts/peers/setup.sh [translate]
#
# A virtual environment is made in $PEERS_HOME (target/peers unless set); needs Python 3.11 or later.
# On Linux the wheel of PyTorch brings its CUDA libraries along, some 5 GB, though only the
# processor is used here. With `translate` it is another environment, without PyTorch: what
# translate.sh needs. With $PEERS_PYTHON set to a Python that has all of requirements.txt, or of
# requirements-translate.txt, nothing is installed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${PEERS_HOME:-$here/../../target/peers}
case ${1:-train} in
train)
    venv=$home/venv requirements=$here/requirements.txt
    packages='numpy, sacrebleu, tokenizers, torch'
    ;;
translate)
    venv=$home/venv-translate requirements=$here/requirements-translate.txt
    packages='ctranslate2, numpy, safetensors, tokenizers'
    ;;
*)
    echo "usage: $0 [translate]" >&2
    exit 2
    ;;
esac
python=${PEERS_PYTHON:-$venv/bin/python}
mkdir -p "$home"

needed="import sys, $packages; assert sys.version_info >= (3, 11)"
if ! "$python" -c "$needed" > /dev/null 2>&1; then
    if [ -n "${PEERS_PYTHON:-}" ]; then
        echo "$PEERS_PYTHON lacks something of ${requirements##*/}" >&2
        exit 1
    fi
    "${PYTHON:-python3}" -m venv "$venv" >&2
    "$python" -m pip install --quiet --requirement "$requirements" >&2
fi

# The matrix products of MKL, which PyTorch brings along, take a slower path on processors that are
# not Intel's. Preloading this makes MKL take the path of the instruction set.
if [ "${1:-train}" = train ] && grep -qs AuthenticAMD /proc/cpuinfo && [ ! -e "$home/mkl.so" ] \
    && command -v cc > /dev/null; then
    echo 'int mkl_serv_intel_cpu_true(void) { return 1; }' \
        | cc -shared -fPIC -O2 -x c -o "$home/mkl.so" - >&2
fi
echo "$python"
