#!/bin/sh
# Recompiles the kernels, compares them byte for byte with what is committed, and checks the machine code. Needs Python 3 and two wheels.
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement kernels/requirements.txt
exec .venv/bin/python kernels/compile.py check
