#!/usr/bin/env bash
# Install what the project needs: `setup.sh core` for building and running firmware,
# `setup.sh tests` for the tests. Both may be run again at any time.
set -euo pipefail

say() { printf '\033[1m%s\033[0m\n' "$*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian packages whose program is missing.
missing_packages() {
  command -v arm-none-eabi-gcc >/dev/null || echo gcc-arm-none-eabi
  [ -n "$(arm-none-eabi-gcc -print-file-name=libc_nano.a 2>/dev/null | grep /)" ] || echo libnewlib-arm-none-eabi
  command -v qemu-system-arm >/dev/null || echo qemu-system-arm
  command -v cc >/dev/null && echo '#include <stdio.h>' | cc -E - >/dev/null 2>&1 || echo gcc libc6-dev
  "$PYTHON" -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

install_packages() {
  local packages
  packages=$(missing_packages)
  [ -z "$packages" ] && return
  if ! command -v apt-get >/dev/null; then
    echo "please install:" $packages >&2
    exit 1
  fi
  say "Installing Debian packages:" $packages
  as_root apt-get update -q
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages
}

pip_install() {
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

setup_core() {
  install_packages
  [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
  say "Installing Python packages"
  pip_install --editable .
  "$VENV/bin/tvm-tiny" doctor
}

setup_tests() {
  say "Installing test packages"
  pip_install --editable '.[verify,tune,search,dev]'
  # Only ever a CPU build: the usual index has none for x86-64, and CUDA builds take gigabytes.
  if pip_install 'torch==2.13.0+cpu' 2>/dev/null; then
    pip_install 'torchao>=0.14,<1'
  else
    say "No CPU build of torch found: tests of the PyTorch importer will be skipped"
  fi
}

"setup_$1"
