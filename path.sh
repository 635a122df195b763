# shellcheck shell=bash
# The environment, to be sourced: `. ./path.sh`. It builds .venv on first use and afterwards only puts it on PATH.
#   PYTHON=python3.12   the Python to build it with (3.11 or newer)
#   SDPN_TORCH=...      what pip is asked for, to have another torch than the one below
#   SDPN_BUILD=no       only define the functions below

sdpn_root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)

sdpn_python() { # the first Python that is new enough
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.11 or newer found: install it, or name it with PYTHON=/path/to/python3" >&2
    return 1
}

# A .venv serves where it was built, and where the same folder is mounted under another name as well
sdpn_is_built() {
    local stamp found
    stamp="${SDPN_TORCH:-torch==2.13.0} $(cksum <"$sdpn_root/setup.py")"
    found=$(cat "$sdpn_root/.venv/.stamp" 2>/dev/null) || return 1
    [ "$found" = "$stamp $sdpn_root" ] ||
        { [ "${found% *}" = "$stamp" ] && [ "${found##* }/.venv/bin/python" -ef "$sdpn_root/.venv/bin/python" ] &&
            [ "${found##* }/setup.py" -ef "$sdpn_root/setup.py" ]; }
}

sdpn_lock() { # of .venv, until this shell ends; by a folder where the file system, or the machine, has no flock
    exec 9>.venv/.lock
    if flock 9 2>/dev/null; then return; fi
    until mkdir .venv/.building 2>/dev/null; do
        # an hour without a sign: whoever was building is gone
        [ -z "$(find .venv/.building -maxdepth 0 -mmin +60 2>/dev/null)" ] || rmdir .venv/.building 2>/dev/null || true
        sleep 1
    done
    trap 'rmdir .venv/.building 2>/dev/null || true' EXIT
}

sdpn_build() ( # under a lock, since the jobs of an array may all come here at once
    sdpn_is_built && exit 0
    torch=${SDPN_TORCH:-torch==2.13.0}
    stamp="$torch $(cksum <"$sdpn_root/setup.py") $sdpn_root"
    python=$(sdpn_python) && cd "$sdpn_root" && mkdir -p .venv || exit 1
    sdpn_lock
    sdpn_is_built && exit 0
    echo "path.sh: building .venv with $python (on first use, or after setup.py changed; it takes some minutes)" >&2
    # Debian keeps ensurepip in a package of its own, so pip comes from the index where it is not at hand
    "$python" -m venv .venv >/dev/null 2>&1 || "$python" -m venv --without-pip .venv || exit 1
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python local/bootstrap_pip.py || exit 1
    index=() # without an NVIDIA GPU, the CPU build of torch spares gigabytes of CUDA
    if ! command -v nvidia-smi >/dev/null; then
        cpu=https://download.pytorch.org/whl/cpu
        if .venv/bin/python local/bootstrap_pip.py --reachable "$cpu/torch/"; then index=(--extra-index-url "$cpu"); fi
    fi
    .venv/bin/python -m pip install --disable-pip-version-check "${index[@]}" "$torch" -e ".[train,report,toy,test,m4a]" >&2 || exit 1
    echo "$stamp" >.venv/.stamp
)

if [ "${SDPN_BUILD-}" = no ]; then
    true
elif sdpn_build; then
    case ":$PATH:" in
    *":$sdpn_root/.venv/bin:"*) ;;
    *) export PATH="$sdpn_root/.venv/bin:$PATH" ;;
    esac
else
    echo "error: .venv could not be built: mend what is said above and source path.sh again" >&2
    false
fi
