# Sourced: hosts in network namespaces with cables of a given rate to a switch, and `shoal node`s on them. As root.
# Namespaces belong to processes that end with this shell: nothing is left behind, nothing of the machine's own network
# is touched. Also the same nodes on the loopback, to compare with.

lan_pids=
lan_home=$(mktemp -d)
lan_close() {
    for pid in $lan_pids; do
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$lan_home"
}
trap lan_close EXIT
trap 'exit 130' INT TERM

lan_possible() {
    [ "$(id -u)" = 0 ] || { echo "needs root: hosts are network namespaces"; return 1; }
    for tool in ip tc unshare nsenter; do
        command -v "$tool" >/dev/null || { echo "needs $tool (iproute2, util-linux)"; return 1; }
    done
    unshare -n true 2>/dev/null || { echo "this system lets no network namespaces be made"; return 1; }
}

# hold NAME: a namespace; its process id is in the file NAME.
hold() {
    unshare -n tail --pid=$$ -f /dev/null &
    echo $! >"$lan_home/$1"
    lan_pids="$lan_pids $!"
    # Until it has left ours.
    while [ "$(readlink "/proc/$!/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
}

# on HOST COMMAND...: on a host of the LAN; "switch" is one of them. "here" is the machine itself.
on() {
    host=$1
    shift
    if [ "$host" = here ]; then "$@"; else nsenter -t "$(cat "$lan_home/$host")" -n "$@"; fi
}

# lan_open HOSTS MBIT: hosts 1 to HOSTS at 10.77.0.1, ...; MBIT in each direction of every cable, 0: no limit.
lan_open() {
    hold switch
    on switch ip link add name switch type bridge
    on switch ip link set dev switch up
    for i in $(seq "$1"); do
        hold "$i"
        on switch ip link add name "port$i" type veth peer name lan netns "$(cat "$lan_home/$i")"
        on switch ip link set dev "port$i" master switch up
        on "$i" ip link set dev lo up
        on "$i" ip address add "10.77.0.$i/24" dev lan
        on "$i" ip link set dev lan up
        if [ "$2" != 0 ]; then
            on "$i" tc qdisc add dev lan root tbf rate "${2}mbit" burst 128kb latency 20ms
            on switch tc qdisc add dev "port$i" root tbf rate "${2}mbit" burst 128kb latency 20ms
        fi
    done
}

# Bytes that a host has sent, as its port of the switch has counted them.
sent_by() { on switch ip -s link show dev "port$1" | awk '/RX:/ {getline; print $1; exit}'; }

# nodes FLEET WHERE COUNT [OPTION...]: nodes 1 to COUNT, one thread each; WHERE is lan or here. The cluster file is
# $lan_home/FLEET.yaml, the client's home (SHOAL_HOME) $lan_home/FLEET. Process ids: $lan_home/FLEET.N.pid
nodes() {
    fleet=$1 where=$2 count=$3
    shift 3
    file=$lan_home/$fleet.yaml
    echo "devices:" >"$file"
    for i in $(seq "$count"); do
        SHOAL_HOME=$lan_home/$fleet.$i "$shoal" key >/dev/null
        address=tcp://10.77.0.$i:7700
        [ "$where" = lan ] || address=tcp://127.77.0.$i:7700
        echo "  - {name: node-$i, address: \"$address\", key: \"$(public_key "$fleet.$i")\"}" >>"$file"
    done
    SHOAL_HOME=$lan_home/$fleet "$shoal" key >/dev/null
    printf 'clients:\n  - {name: client, key: "%s"}\n' "$(public_key "$fleet")" >>"$file"
    for i in $(seq "$count"); do
        host=$i
        [ "$where" = lan ] || host=here
        start_node "$fleet" "$i" "$host" "$@"
    done
}
public_key() { sed -n 's/^public //p' "$lan_home/$1/key"; }

# start_node FLEET NUMBER HOST [OPTION...]
start_node() {
    base=$lan_home/$1.$2 number=$2 file=$lan_home/$1.yaml host=$3
    shift 3
    address=$(sed -n "s/.*name: node-$number, address: \"\([^\"]*\)\".*/\1/p" "$file")
    enter=
    [ "$host" = here ] || enter="nsenter -t $(cat "$lan_home/$host") -n"
    # shellcheck disable=SC2086
    SHOAL_HOME=$base $enter "$shoal" node --listen "$address" --name "node-$number" --allow "$file" \
        --threads 1 --log warn "$@" >"$base.out" 2>"$base.err" &
    echo $! >"$base.pid"
    lan_pids="$lan_pids $!"
    until grep -qs '^ready ' "$base.out"; do
        kill -0 "$!" 2>/dev/null || { cat "$base.err" >&2; return 1; }
        sleep 0.05
    done
}

# client FLEET HOST ARGUMENT...: a command of the fleet's client from that host.
client() {
    fleet=$1
    host=$2
    shift 2
    on "$host" env SHOAL_HOME="$lan_home/$fleet" "$shoal" "$@" --cluster "$lan_home/$fleet.yaml"
}

stop_nodes() { # FLEET COUNT
    for i in $(seq "$2"); do
        pid=$(cat "$lan_home/$1.$i.pid")
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
