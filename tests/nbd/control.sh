#!/bin/bash
# The control of a real server: its socket, a snapshot and its merge under a running client, the end with clients connected.
. "$(dirname "$0")/server.sh"
need python3 nbdcopy nbdinfo qemu-io

# control LINE...: say hello and these lines, print the answers; the last line "hang" keeps the connection until killed.
cat >control.py <<'PYTHON'
import json, socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
f = s.makefile('rw')
for i, line in enumerate(['"do": "hello", "version": 1'] + sys.argv[2:], 1):
    if line == 'hang':
        print('hanging', flush=True)
        time.sleep(60)
    f.write('{"id": %d, %s}\n' % (i, line))
    f.flush()
    while True:
        answer = f.readline()
        if not answer:
            sys.exit('the server hung up')
        print(answer, end='', flush=True)
        if 'event' not in json.loads(answer):
            break
PYTHON

control()
{
	run_check python3 control.py "$SOCKET" "$@"
}

serve()
{
	rm -f pid
	"$PLOOP" serve --socket "$PWD/socket" --pid-file "$PWD/pid" "$@" ct 2>server.log </dev/null &
	SERVER_PID=$!
	await is_ready_or_gone
	[ ! -e pid ] || return 0
	sed 's/^/  ! /' server.log
	fail "the server did not start"
}

# An empty delta that fits on top of a disk of this size.
make_delta()
{
	run_check ploop init -t none -s "${2:-64M}" "other/$1"
	mv "other/$1" "ct/$1"
	rm -r other
	mkdir other
}

pattern()
{
	run_check qemu-io ${2-} -f raw -c "$1" "$URI"
}

mkdir ct other
run_check ploop init -t none -s 64M ct/root.hds
[ "$(id -u)" = 0 ] && RUN=/run/ploop || RUN=${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/ploop}
SOCKET=${RUN:-/tmp/ploop-$(id -u)}/ctl-$(stat -c %D ct)-$(stat -c %i ct)

each "the socket is there while the disk is open, for us alone"
serve
[ "$(stat -c '%F %a' "$SOCKET")" = "socket 600" ] || fail "its mode is $(stat -c '%F %a' "$SOCKET")"
[ "$(id -u)" != 0 ] || ! as_user test -w "$SOCKET" || fail "somebody else may connect"
control '"do": "info"' '"do": "members"'
expect_line stdout '"size_bytes":67108864,.*"depth":1,.*"readonly":false'
expect_line stdout "\"pid\":$SERVER_PID,"
expect_line stdout "\"path\":\"$PWD/ct/root.hds\",\"dev\":[0-9]*,\"ino\":$(stat -c %i ct/root.hds),"

each "nonsense is told, and the next one is served"
run_mustfail 1 python3 control.py "$SOCKET" '"do": "info", ]' '"do": "info"'
expect_line stdout '"id":0,"error":"EBADMSG"'
control '"do": "format"' '"do": "push"' '"do": "push", "name": "../root.hds"' '"do": "push", "name": "missing"' \
	'"do": "push", "name": "root.hds"' '"do": "merge", "child": 1, "into": "parent"' '"do": "cancel"'
expect_line stdout '"id":2,"error":"EOPNOTSUPP"'
expect_line stdout '"id":3,"error":"EINVAL","message":"name: is missing"'
expect_line stdout '"id":4,"error":"EINVAL","message":".*plain name'
expect_line stdout '"id":5,"error":"ENOENT"'
expect_line stdout '"id":6,"error":"E[A-Z]+","message"'
expect_line stdout '"id":7,"error":"EINVAL"'
expect_line stdout '"id":8,"error":"ENOENT"'

each "a snapshot: what is written before lies below, what is written after on top"
pattern "write -P 1 0 4M"
make_delta snap1
control '"do": "push", "name": "snap1"' '"do": "switch", "wait_ms": 30000' '"do": "members"'
expect_line stdout '^\{"id":3,"result":\{"pause_ns":[0-9]+\}\}$'
expect_line stdout "ct/root.hds.*\"clusters\":4,.*\"path\":\"$PWD/ct/snap1\""
sum=$(sha256sum <ct/root.hds)
pattern "write -P 2 1M 1M"
pattern "read -P 1 0 1M"
pattern "read -P 2 1M 1M"
[ "$(sha256sum <ct/root.hds)" = "$sum" ] || fail "the sealed image was written to"
run_check qemu-img check -q -f parallels ct/root.hds

each "and its merge, with progress"
control '"do": "merge", "child": 1, "into": "parent"' '"do": "members"'
expect_line stdout '^\{"id":2,"result"'
expect_no stdout '"id":3.*snap1'
pattern "read -P 2 1M 1M"
pattern "read -P 1 2M 2M"
rm ct/snap1

each "a killed client's image is abandoned"
make_delta snap2
python3 control.py "$SOCKET" '"do": "push", "name": "snap2"' hang >hang.log &
hanging=$!
await grep -q hanging hang.log
expect_line hang.log '"id":2,"result"'
run_check python3 control.py "$SOCKET" '"do": "push", "name": "snap2"'
expect_line stdout '"id":2,"error":"EBUSY"'
kill -KILL "$hanging"
wait "$hanging" 2>/dev/null
push_again()
{
	run_check python3 control.py "$SOCKET" '"do": "push", "name": "snap2"' '"do": "abandon"'
	! grep -q '"id":2,"error":"EBUSY"' stdout
}
await push_again
expect_line stdout '^\{"id":3,"result":\{\}\}$'

each "the end, with an image pushed by a client that stays"
python3 control.py "$SOCKET" '"do": "push", "name": "snap2"' hang >hang.log &
hanging=$!
await grep -q hanging hang.log
kill -USR1 "$SERVER_PID"
await grep -q 'control clients=1 pushed=1 change=none ' server.log || fail "SIGUSR1 does not tell"
stop_server
[ ! -e "$SOCKET" ] || fail "the control's socket is left"
kill "$hanging"
wait "$hanging" 2>/dev/null
run_check qemu-img check -q -f parallels ct/root.hds
run_check qemu-img check -q -f parallels ct/snap2

each "a dead server's socket is replaced"
serve
kill -KILL "$SERVER_PID"
wait "$SERVER_PID" 2>/dev/null
[ -S "$SOCKET" ] || fail "kill -9 should leave a socket"
serve
control '"do": "info"'
pattern "read -P 2 1M 1M"
stop_server

each "the end while a merge runs: it is cancelled, its client is told, nothing is lost"
rm -r ct
mkdir ct
SOCKET=${RUN:-/tmp/ploop-$(id -u)}/ctl-$(stat -c %D ct)-$(stat -c %i ct)
run_check ploop init -t none -s 1G ct/root.hds
make_delta snap3 1G
serve
pattern "write -P 4 0 8M"
control '"do": "push", "name": "snap3"' '"do": "switch"'
pattern "write -P 3 0 256M"
pattern "flush"
python3 control.py "$SOCKET" '"do": "merge", "child": 1, "into": "parent"' >merge.log &
merging=$!
await grep -qE '"progress"|"id":2' merge.log
kill -USR1 "$SERVER_PID"
await grep -qE 'control clients=1 pushed=0 change=(merge|none) done_bytes=[0-9]+ ' server.log || fail "SIGUSR1 does not tell"
stop_server
wait "$merging"
sed 's/^/    /' merge.log
expect_line merge.log '"id":2,("error":"ECANCELED"|"result")'
run_check qemu-img check -q -f parallels ct/root.hds
run_check qemu-img check -q -f parallels ct/snap3
IMAGE=(--image "ploop:-1::0::$PWD/ct/root.hds")
grep -q '"result".*pause' merge.log || IMAGE+=(--image "ploop:-1::0::$PWD/ct/snap3")
start_server --read-only
pattern "read -P 3 0 256M" -r
stop_server

each "who only reads cannot be asked"
serve -r
[ ! -e "$SOCKET" ] || fail "a read-only server has a control socket"
stop_server
