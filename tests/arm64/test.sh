#!/bin/sh
# Cross-builds for arm64 and runs the unit and golden tests under user-mode emulation. Debian's arm64 packages go into
# a minimal Debian of their own, build/arm64-root, which stays for the next time; this machine's own stay as they are.
# usage: test.sh PACKAGES [ctest arguments]   (PACKAGES: what a native build installs)
# Needs root, debootstrap and the mirror that this machine's apt uses.
set -eu
packages=$1
shift
[ "$(id -u)" = 0 ] || {
    echo "test-arm64: needs root" >&2
    exit 1
}
root=$PWD/build/arm64-root
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    awk '$1 == "URIs:" || $1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; exit}}')
[ -n "$mirror" ] || {
    echo "test-arm64: apt has no mirror here" >&2
    exit 1
}
cleanup() {
    umount -l "$root/project" "$root/dev" "$root/proc" 2>/dev/null || true
}
trap cleanup EXIT
say() { printf '== %s\n' "$*"; }
inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root \
        ${https_proxy:+https_proxy=$https_proxy} ${http_proxy:+http_proxy=$http_proxy} chroot "$root" "$@"
}

if [ ! -e "$root/.complete" ]; then
    say "a minimal Debian $release in build/arm64-root"
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase --include=ca-certificates "$release" "$root" "$mirror" >build/arm64-root.log 2>&1 || {
        tail -n 5 build/arm64-root.log >&2
        exit 1
    }
    touch "$root/.complete"
fi
for file in /etc/resolv.conf /etc/hosts; do
    cp "$file" "$root/etc/" 2>/dev/null || true
done
cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
if [ -d /usr/local/share/ca-certificates ]; then
    cp -a /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
    inside update-ca-certificates >/dev/null 2>&1 || true
fi
mkdir -p "$root/project"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind "$PWD" "$root/project"

# Tools of this machine's architecture, libraries of the other.
wanted="cmake ninja-build protobuf-c-compiler pkg-config xz-utils gcc-aarch64-linux-gnu qemu-user libgomp1:arm64"
for package in $packages; do
    case $package in
    libdnnl-dev) ;; # of no use there
    lib*-dev | zlib1g-dev) wanted="$wanted $package:arm64" ;;
    esac
done
if [ "$(cat "$root/.packages" 2>/dev/null)" != "$wanted" ]; then
    say "installing:" $wanted
    inside dpkg --add-architecture arm64
    inside apt-get update -qq
    # shellcheck disable=SC2086
    inside apt-get install -y -qq --no-install-recommends $wanted >build/arm64-root.log 2>&1 || {
        tail -n 20 build/arm64-root.log >&2
        exit 1
    }
    echo "$wanted" >"$root/.packages"
fi

say "building for arm64"
inside sh -c 'cd /project && cmake --preset arm64 >build/arm64.log 2>&1 && ninja -C build/arm64 --quiet' || {
    grep -i -A5 error build/arm64.log >&2 || true
    exit 1
}
say "unit and golden tests under qemu-aarch64"
[ $# -gt 0 ] || set -- -L 'unit|golden'
code=0
inside sh -c 'cd /project && ctest --test-dir build/arm64 --output-on-failure -j "$0" "$@"' "$(nproc)" "$@" || code=$?
log=build/arm64/Testing/Temporary/LastTest.log
echo "$(grep -c '^SKIPPED: ' "$log" || true) checks skipped:"
grep '^SKIPPED: ' "$log" | sort | uniq -c || true
exit "$code"
