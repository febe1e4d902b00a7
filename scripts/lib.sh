# What the scripts share. Sourced, not run.

# Where Debian keeps ip, nft and conntrack; the PATH of who is not root lacks it.
export PATH="$PATH:/usr/sbin:/sbin"

say() { printf '\n== %s\n' "$*"; }

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# need_packages COMMAND=PACKAGE ...: installs the Debian packages whose command is missing, asking
# for root only for that.
need_packages() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null 2>&1 ||
        fail "these are missing, and this is no Debian: ${missing[*]}. Install them, then run this again."
    say "Installing ${missing[*]}"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || fail "to install ${missing[*]}, run as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -qq || fail "apt-get update failed: see above"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" ||
        fail "apt-get install ${missing[*]} failed: see above"
}

# need_rust: Rust of at least the version that Cargo.toml asks for.
need_rust() {
    command -v cargo >/dev/null 2>&1 ||
        fail "Rust is missing: install it from rustup.rs, then run this again."
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$(cargo --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n1)" = "$wanted" ] ||
        fail "Rust $wanted or later is needed, and this is $found: run 'rustup update'."
}

# need_kernel: TUN devices and network namespaces.
need_kernel() {
    [ -e /dev/net/tun ] || modprobe tun 2>/dev/null || true
    [ -e /dev/net/tun ] || fail "this host has no /dev/net/tun: load it with 'modprobe tun'."
    unshare -n true 2>/dev/null || unshare -rn true 2>/dev/null ||
        fail "this host forbids network namespaces: run as root, or allow user namespaces."
}
