#!/bin/sh
# Builds the Debian package and looks into it. usage: package_test.sh SOURCE_DIR SHOAL
set -eu
source=$1
shoal=$2
for tool in dpkg-deb dpkg-shlibdeps; do
    command -v "$tool" >/dev/null || {
        echo "SKIPPED: the Debian package: no $tool here"
        exit 0
    }
done
work=$(mktemp -d)
node=
cleanup() {
    [ -z "$node" ] || kill -9 "$node" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() {
    echo "package: $*" >&2
    exit 1
}
has() { grep -q -- "$2" "$1" || { cat "$1" >&2; fail "no '$2' in ${1#"$work/"}"; }; } # FILE PATTERN

deb=$("$source/packaging/build.sh" "$shoal" "$work/build")
root=$work/root
dpkg-deb --raw-extract "$deb" "$root"

# 1. What it says of itself.
version=$("$shoal" --version | awk '{print $2}')
[ "$(dpkg-deb -f "$deb" Version)" = "$version" ] || fail "version $(dpkg-deb -f "$deb" Version), not $version"
[ "$(dpkg-deb -f "$deb" Architecture)" = "$(dpkg --print-architecture)" ] || fail "another architecture"
dpkg-deb -f "$deb" Depends >"$work/depends"
for library in libc6 libzmq5 libsodium libjansson4 libsqlite3-0 libdnnl; do
    has "$work/depends" "$library"
done
grep -q '@[A-Z]*@' "$root/DEBIAN/control" && fail "a gap in DEBIAN/control"

# 2. What lies where; everything root's, nothing for all to write.
dpkg-deb --contents "$deb" | awk '{print $1, $2, $NF}' >"$work/contents"
for line in '-rwxr-xr-x root/root ./usr/bin/shoal' '-rw-r--r-- root/root ./usr/lib/systemd/system/shoal.service' \
    '-rw-r--r-- root/root ./usr/lib/sysusers.d/shoal.conf' '-rw-r----- root/root ./etc/shoal/node.conf' \
    '-rw-r----- root/root ./etc/shoal/allow' '-rw-r--r-- root/root ./usr/share/man/man1/shoal.1.gz'; do
    grep -qxF -- "$line" "$work/contents" || { cat "$work/contents" >&2; fail "not as it should be: $line"; }
done
if grep -v ' root/root ' "$work/contents" || grep -E '^.{8}w' "$work/contents"; then
    fail "another owner, or a file that all may write"
fi
(cd "$root" && find etc -type f | sed 's|^|/|' | sort) >"$work/etc"
sort "$root/DEBIAN/conffiles" | cmp -s - "$work/etc" || fail "conffiles are not what lies in /etc"
(cd "$root" && md5sum --quiet -c DEBIAN/md5sums) || fail "md5sums"
for script in postinst prerm postrm; do
    sh -n "$root/DEBIAN/$script" || fail "$script is no sound script"
done

# 3. The manual page knows every command.
zcat "$root/usr/share/man/man1/shoal.1.gz" >"$work/man"
for command in $("$shoal" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'); do
    has "$work/man" "^usage: shoal $command"
done

# 4. Unit, user and configuration fit each other and the program.
unit=$root/usr/lib/systemd/system/shoal.service
user=$(sed -n 's/^User=//p' "$unit")
has "$root/usr/lib/sysusers.d/shoal.conf" "^u $user "
[ -x "$root$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")" ] || fail "ExecStart is not in the package"
[ -f "$root$(sed -n 's/^EnvironmentFile=//p' "$unit")" ] || fail "EnvironmentFile is not in the package"
"$shoal" node --help >"$work/help"
for name in $(sed -n 's/^#\{0,1\}SHOAL_\([A-Z_]*\)=.*/\1/p' "$root/etc/shoal/node.conf"); do
    has "$work/help" "^  --$(echo "$name" | tr 'A-Z_' 'a-z-') "
done
if [ "$(id -u)" = 0 ] && command -v systemd-sysusers >/dev/null; then
    mkdir -p "$work/users/etc"
    systemd-sysusers --root="$work/users" "$root/usr/lib/sysusers.d/shoal.conf" >/dev/null 2>&1 || fail "systemd-sysusers"
    has "$work/users/etc/passwd" "^$user:.*:/var/lib/shoal:/usr/sbin/nologin$"
fi
if command -v systemd-analyze >/dev/null; then
    mkdir "$work/units"
    sed "s|^ExecStart=/usr/bin/shoal|ExecStart=$root/usr/bin/shoal|" "$unit" >"$work/units/shoal.service"
    systemd-analyze verify --man=no "$work/units/shoal.service" >"$work/verify" 2>&1 || true
    if grep 'shoal\.service' "$work/verify"; then
        fail "systemd finds fault with the unit"
    fi
else
    echo "SKIPPED: the systemd unit: no systemd-analyze here"
fi

# 5. The program in it, started as the unit starts it, from a home of its own.
program=$root/usr/bin/shoal
[ "$("$program" --version)" = "shoal $version" ] || fail "it does not run"
mkdir -m 0700 "$work/home"
export SHOAL_HOME="$work/home"
"$program" key >"$work/key.out" || fail "shoal key"
[ "$(stat -c %a "$work/home/key")" = 600 ] || fail "the key file is open to others"
(
    set -a
    . "$root/etc/shoal/node.conf"
    SHOAL_LISTEN=tcp://127.0.0.1:0
    SHOAL_ALLOW=$root/etc/shoal/allow
    exec "$program" node
) >"$work/node.out" 2>"$work/node.err" &
node=$!
await() { # FILE PATTERN
    tries=0
    until grep -q "$2" "$1"; do
        kill -0 "$node" 2>/dev/null || { cat "$work/node.err" >&2; fail "the node ended before '$2'"; }
        tries=$((tries + 1))
        [ "$tries" -lt 1200 ] || fail "no '$2' after 60 s"
        sleep 0.05
    done
}
await "$work/node.out" '^ready '
kill -HUP "$node"
await "$work/node.err" 'was read again'
kill -TERM "$node"
status=0
wait "$node" || status=$?
node=
[ "$status" = 0 ] || { cat "$work/node.err" >&2; fail "the node ended with $status"; }
has "$work/node.err" ' stopped$'
drain=$(sed -n 's/.*after SIGTERM.*(default \([0-9]*\)).*/\1/p' "$work/help")
[ "$(sed -n 's/^TimeoutStopSec=//p' "$unit")" -gt "$drain" ] || fail "the unit's time to stop is not longer than the drain"
echo "package: $(basename "$deb") is as it should be"
