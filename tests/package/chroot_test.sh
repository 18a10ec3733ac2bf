#!/bin/sh
# Installs the Debian package in a minimal Debian of its own, uses the daemon, upgrades, removes and purges it.
# usage: chroot_test.sh SHOAL_DEB. Needs root, debootstrap and the mirror that this machine's apt uses.
set -eu
deb=$1
[ "$(id -u)" = 0 ] || {
    echo "package-test: needs root" >&2
    exit 1
}
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    awk '$1 == "URIs:" || $1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; exit}}')
[ -n "$mirror" ] || {
    echo "package-test: apt has no mirror here" >&2
    exit 1
}
root=$(mktemp -d)
chmod 0755 "$root"
node=   # the daemon's process id; the file node.pid while it runs
waiter= # our child that ends as it does
cleanup() {
    [ ! -s "$root/tmp/node.pid" ] || kill -9 "$(cat "$root/tmp/node.pid")" 2>/dev/null || true
    umount -l "$root/proc" 2>/dev/null || true
    rm -rf --one-file-system "$root"
}
trap cleanup EXIT
say() { printf '== %s\n' "$*"; }
fail() {
    echo "package-test: $*" >&2
    [ ! -s "$root/tmp/node.err" ] || cat "$root/tmp/node.err" >&2
    exit 1
}
inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        ${https_proxy:+https_proxy=$https_proxy} ${http_proxy:+http_proxy=$http_proxy} chroot "$root" "$@"
}
client() { inside env SHOAL_HOME=/root/shoal shoal "$@"; }
as_shoal() { inside setpriv --reuid shoal --regid shoal --clear-groups env SHOAL_HOME=/var/lib/shoal "$@"; }

say "a minimal Debian $release"
debootstrap --variant=minbase --include=ca-certificates "$release" "$root" "$mirror" >"$root.log" 2>&1 || {
    tail -n 5 "$root.log" >&2
    exit 1
}
rm -f "$root.log"
mount -t proc proc "$root/proc"
for file in /etc/resolv.conf /etc/hosts; do
    cp "$file" "$root/etc/" 2>/dev/null || true
done
rm -rf "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d"
cp -a /etc/apt/sources.list.d "$root/etc/apt/"
[ ! -f /etc/apt/sources.list ] || cp /etc/apt/sources.list "$root/etc/apt/"
cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
if [ -d /usr/local/share/ca-certificates ]; then
    cp -a /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
    inside update-ca-certificates >/dev/null 2>&1 || true
fi

say "install"
cp "$deb" "$root/tmp/shoal.deb"
chmod 644 "$root/tmp/shoal.deb"
inside apt-get update -qq
inside apt-get install -y -qq --no-install-recommends /tmp/shoal.deb >"$root/tmp/install.log" 2>&1 || {
    cat "$root/tmp/install.log" >&2
    fail "it does not install"
}
[ "$(inside stat -c '%U %G %a' /var/lib/shoal)" = "shoal shoal 700" ] || fail "/var/lib/shoal"
[ "$(inside stat -c '%U %G %a' /var/lib/shoal/key)" = "shoal shoal 600" ] || fail "the key"
[ "$(inside stat -c '%U %G %a' /etc/shoal/allow)" = "root shoal 640" ] || fail "/etc/shoal/allow"
[ -L "$root/etc/systemd/system/multi-user.target.wants/shoal.service" ] || fail "the unit is not enabled"
key=$(sed -n 's/^public //p' "$root/var/lib/shoal/key")

start() { # as the unit does, in the place of systemd
    as_shoal sh -c 'echo $$ >/tmp/node.pid; set -a; . /etc/shoal/node.conf; exec shoal node' \
        >"$root/tmp/node.out" 2>"$root/tmp/node.err" &
    waiter=$!
    tries=0
    until grep -q '^ready ' "$root/tmp/node.out"; do
        kill -0 "$waiter" 2>/dev/null || fail "the daemon ended"
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "the daemon is not ready after 60 s"
        sleep 0.1
    done
    node=$(cat "$root/tmp/node.pid")
}
stop() {
    kill -TERM "$node"
    status=0
    wait "$waiter" || status=$?
    rm -f "$root/tmp/node.pid"
    [ "$status" = 0 ] || fail "the daemon ended with $status"
}

say "start as user shoal; a client that the allow-list does not know"
sed -i 's|^SHOAL_LISTEN=.*|SHOAL_LISTEN=tcp://127.0.0.1:7717|' "$root/etc/shoal/node.conf"
echo 'SHOAL_NAME=box' >>"$root/etc/shoal/node.conf"
start
client key >/dev/null
cat >"$root/root/cluster.yaml" <<YAML
devices:
  - {name: box, address: "tcp://127.0.0.1:7717", key: "$key"}
YAML
if client nodes --cluster /root/cluster.yaml >"$root/tmp/nodes.out" 2>&1; then
    cat "$root/tmp/nodes.out" >&2
    fail "a stranger got in"
fi

say "reload with that client on the list; run a model"
echo "admin $(sed -n 's/^public //p' "$root/root/shoal/key")" >>"$root/etc/shoal/allow"
kill -HUP "$node"
tries=0
until client nodes --cluster /root/cluster.yaml >"$root/tmp/nodes.out" 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 30 ] || { cat "$root/tmp/nodes.out" >&2; fail "the client is not let in after the reload"; }
    sleep 1
done
grep -q box "$root/tmp/nodes.out" || fail "shoal nodes does not name it"
client run vit-test --input random:4 --cluster /root/cluster.yaml --json >"$root/tmp/run.out" 2>"$root/tmp/run.err" || {
    cat "$root/tmp/run.err" >&2
    fail "no run"
}
grep -q '"items": 4' "$root/tmp/run.out" || fail "the run has not 4 items"
stop

say "install again: key and configuration stay"
inside apt-get install -y -qq --reinstall /tmp/shoal.deb >"$root/tmp/install.log" 2>&1 || {
    cat "$root/tmp/install.log" >&2
    fail "it does not install again"
}
[ "$(sed -n 's/^public //p' "$root/var/lib/shoal/key")" = "$key" ] || fail "another key"
grep -q '^SHOAL_NAME=box' "$root/etc/shoal/node.conf" || fail "the configuration is gone"

say "remove: state and configuration stay; purge: nothing does"
inside apt-get remove -y -qq shoal >/dev/null 2>&1 || fail "it cannot be removed"
[ ! -e "$root/usr/bin/shoal" ] || fail "the program is still there"
[ -e "$root/var/lib/shoal/key" ] && [ -e "$root/etc/shoal/node.conf" ] || fail "removing took the state"
inside apt-get purge -y -qq shoal >/dev/null 2>&1 || fail "it cannot be purged"
for path in /var/lib/shoal /etc/shoal /etc/systemd/system/multi-user.target.wants/shoal.service \
    /etc/systemd/system/shoal.service; do
    [ ! -e "$root$path" ] && [ ! -L "$root$path" ] || fail "$path is left"
done
if inside getent passwd shoal >/dev/null; then
    fail "the user is left"
fi
say "package-test: passed"
