#!/bin/sh
# The manual page: what `shoal --help` and `shoal COMMAND --help` say. usage: man.sh SHOAL
set -eu
shoal=$1
quote() { sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^[.']/\\\\\&&/"; }
verbatim() {
    echo .nf
    quote
    echo .fi
}
version=$("$shoal" --version | awk '{print $2}')
printf '.TH SHOAL 1 "" "shoal %s" "User Commands"\n' "$version"
printf '.SH NAME\nshoal \\- neural networks over many weak devices\n.SH SYNOPSIS\n.B shoal\n.I COMMAND\n[options]\n'
printf '.SH DESCRIPTION\n'
"$shoal" --help | verbatim
for command in $("$shoal" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'); do
    printf '.SH SHOAL %s\n' "$(echo "$command" | tr 'a-z' 'A-Z')"
    "$shoal" "$command" --help </dev/null | verbatim
done
cat <<'TAIL'
.SH ENVIRONMENT
Every option can be given as a variable: \-\-memory as SHOAL_MEMORY, and so on. SHOAL_HOME is where key, profiles
and cached weights lie, otherwise ~/.local/share/shoal.
.SH FILES
.TP
.I /etc/shoal/node.conf
what the daemon is started with
.TP
.I /etc/shoal/allow
who may connect to it
.TP
.I /var/lib/shoal
its key, profiles and cached weights
TAIL
