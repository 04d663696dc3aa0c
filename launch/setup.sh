#!/usr/bin/env bash
# Makes .venv with the pinned packages, and installs the system packages that rendering without a
# display needs, and a browser for one test, when they are missing and this user may. Safe to run
# again.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(command -v python3.11 || true)
if [ -z "$python" ]; then
    echo "setup: python3.11 was not found; install it (Debian/Ubuntu: apt-get install python3.11-venv)" >&2
    exit 1
fi

gl_packages="libegl1 libegl-mesa0 libgl1 libglx-mesa0 libgl1-mesa-dri libosmesa6 libgles2 libopengl0 libglu1-mesa"
root=""
[ "$(id -u)" = 0 ] || root="sudo -n"
may_install() { command -v apt-get > /dev/null && { [ -z "$root" ] || sudo -n true 2> /dev/null; }; }
apt_install() {
    $root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" > /dev/null
}

if command -v dpkg-query > /dev/null; then
    missing=()
    for package in $gl_packages; do
        dpkg-query -W -f='${Status}' "$package" 2> /dev/null | grep -q "install ok installed" || missing+=("$package")
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        if may_install; then
            apt_install "${missing[@]}"
        else
            echo "setup: rendering needs packages that only root can install; run:" >&2
            echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        fi
    fi
fi

# The report's test clicks the page in a browser. All else works without one, so this may fail.
if ! command -v chromium > /dev/null && ! command -v google-chrome > /dev/null; then
    if ! { may_install && apt_install chromium; }; then
        echo "setup: no Chromium could be installed; the report's test will skip the browser" >&2
    fi
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all]"
# Apart: torch imports a Triton that it finds, and its LLVM and Mesa's crash in one process.
[ -d .venv/kernels/triton ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --no-deps -c constraints.txt --target .venv/kernels triton
# Apart too: it wants numpy 1, which nothing of it needs. Tests let it call our server.
[ -d .venv/openpi/openpi_client ] || .venv/bin/python -m pip install --quiet \
    --disable-pip-version-check --no-deps -c constraints.txt --target .venv/openpi \
    openpi-client dm-tree
