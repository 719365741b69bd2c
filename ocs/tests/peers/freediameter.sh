#!/bin/sh
# Runs inside a network namespace of its own (`unshare -rn`): freeDiameter listens on every address there is.
# usage: freediameter.sh OCS FOLDER [PYTHON]
#
# Starts `ocs dev`, connects freeDiameter to it, sends what gy_client.py has to say through freeDiameter as a relay,
# waits for the watchdog, and ends all in good order. FOLDER gets the logs; the test reads them.
ocs="$1" folder="$2" python="$3"
here="$(cd "$(dirname "$0")" && pwd)"
extensions="$(for path in /usr/lib/freeDiameter /usr/lib/*/freeDiameter; do [ -d "$path" ] && echo "$path" && break; done)"
cd "$folder" || exit 1
server="" relay=""
trap 'kill $relay $server 2>/dev/null' EXIT

# freeDiameter wants an address that is not loopback to tell in its CER.
ip link set lo up
ip link add peers0 type dummy 2>/dev/null || ip link add peers0 type veth peer name peers1 || exit 1
ip address add 192.0.2.1/24 dev peers0 && ip link set peers0 up || exit 1

# Not used, as TLS is off, but it does not start without.
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=relay.example.net 2>openssl.log ||
    exit 1
echo 'ALLOW_IPSEC *.example.net' >peers.acl
cat >relay.conf <<CONF
Identity = "relay.example.net";
Realm = "example.net";
Port = 3868;
SecPort = 0;
No_SCTP;
No_IPv6;
TwTimer = 6;
TcTimer = 6;
TLS_Cred = "$folder/cert.pem", "$folder/key.pem";
TLS_CA = "$folder/cert.pem";
LoadExtension = "$extensions/dict_nasreq.fdx";
LoadExtension = "$extensions/dict_dcca.fdx";
LoadExtension = "$extensions/dict_dcca_3gpp.fdx";
LoadExtension = "$extensions/acl_wl.fdx" : "$folder/peers.acl";
LoadExtension = "$extensions/dbg_msg_dumps.fdx" : "0x0080";
ConnectPeer = "ocs.example.org" { ConnectTo = "127.0.0.1"; Port = 3878; No_TLS; };
CONF

# Waits up to so many seconds for a text in a file.
await() {
    for _ in $(seq "$(($1 * 10))"); do
        grep -q "$2" "$3" 2>/dev/null && return 0
        sleep 0.1
    done
    echo "freediameter.sh: no '$2' in $3 after $1 seconds" >&2
    return 1
}

"$ocs" dev --data data --subscribers 50 --gy 127.0.0.1:3878 --grpc 127.0.0.1:3879 --metrics 127.0.0.1:3880 \
    2>ocs.log >&2 &
server=$!
await 20 serving ocs.log || exit 1
freeDiameterd -c "$folder/relay.conf" >relay.log 2>&1 &
relay=$!
await 15 "peer open" ocs.log || exit 1
await 5 "STATE_OPEN.*ocs.example.org" relay.log || exit 1

if [ -n "$python" ]; then
    "$python" "$here/gy_client.py" 3868 --peer relay.example.net --realm example.org --record record --short \
        --pay "'$ocs' account topup --amount 5.00 --key pay --server http://127.0.0.1:3879" >client.log 2>&1
    echo "client ended with $?" >>client.log
    "$ocs" account show 13 -o json --server http://127.0.0.1:3879 >account.json
fi

# The watchdog comes after 6 seconds of silence, give or take 2.
await 12 "Device-Watchdog-Answer" relay.log || exit 1
kill -TERM "$relay"
await 15 "peer closed" ocs.log || exit 1
for _ in $(seq 100); do kill -0 "$relay" 2>/dev/null || break; sleep 0.1; done
kill -TERM "$server"
wait "$server"
