#!/bin/sh
# Makes a .deb of a built binary. usage: build.sh SHOAL FOLDER; prints the package's path.
set -eu
shoal=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
cd "$(dirname "$0")"

version=$("$shoal" --version | awk '{print $2}')
architecture=$(dpkg --print-architecture)
root=$folder/root
rm -rf "$root"
place() { install -D -m "$1" "$2" "$root/$3"; } # MODE FILE PATH

umask 022
mkdir -p "$root/usr/bin" "$root/usr/share/man/man1" "$root/usr/share/doc/shoal" "$root/DEBIAN"
strip -o "$root/usr/bin/shoal" "$shoal"
chmod 0755 "$root/usr/bin/shoal"
place 0644 shoal.service usr/lib/systemd/system/shoal.service
place 0644 shoal.sysusers usr/lib/sysusers.d/shoal.conf
place 0640 node.conf etc/shoal/node.conf
place 0640 allow etc/shoal/allow
place 0644 ../LICENSE usr/share/doc/shoal/copyright
./man.sh "$shoal" | gzip -9n >"$root/usr/share/man/man1/shoal.1.gz"

# dpkg-shlibdeps wants to stand in a source package.
mkdir -p "$folder/work/debian"
printf 'Source: shoal\n\nPackage: shoal\nArchitecture: any\n' >"$folder/work/debian/control"
depends=$(cd "$folder/work" && dpkg-shlibdeps -O "$root/usr/bin/shoal" 2>"$folder/shlibdeps.log" |
    sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || {
    cat "$folder/shlibdeps.log" >&2
    echo "package: dpkg-shlibdeps found no dependencies" >&2
    exit 1
}
size=$(du -k -s --apparent-size --exclude=DEBIAN "$root" | cut -f 1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" \
    -e "s/@DEPENDS@/$depends/" debian/control.in >"$root/DEBIAN/control"
install -m 0644 debian/conffiles "$root/DEBIAN/conffiles"
install -m 0755 debian/postinst debian/prerm debian/postrm "$root/DEBIAN"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
deb=$folder/shoal_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$root" "$deb" >/dev/null
echo "$deb"
