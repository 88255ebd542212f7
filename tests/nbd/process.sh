#!/bin/bash
# ploop-server as a service: background, pid file, exit codes, sockets of the dead and the living, a graceful end.
. "$(dirname "$0")/server.sh"
need nbdinfo

make_image 64M

each "wrong words: exit 2"
run_mustfail 2 "$SERVER"
run_mustfail 2 "$SERVER" --image nonsense --socket s
run_mustfail 2 "$SERVER" "${IMAGE[@]}"
run_mustfail 2 "$SERVER" "${IMAGE[@]}" --socket
run_mustfail 2 "$SERVER" "${IMAGE[@]}" --size-sectors -1 --socket s
run_check "$SERVER" --help
expect_line stdout '--tls-psk FILE'

each "what cannot be opened is told, also from the background: exit 1"
run_mustfail 1 "$SERVER" --image ploop:-1::0::/nonexistent --socket "$PWD/socket"
run_mustfail 1 "$SERVER" --image ploop:-1::0::/nonexistent --socket "$PWD/socket" --daemonize
expect_line stderr nonexistent
touch occupied
run_mustfail 1 "$SERVER" "${IMAGE[@]}" --socket "$PWD/occupied" --daemonize
expect_line stderr 'occupied: exists and is no socket'
run_mustfail 1 "$SERVER" "${IMAGE[@]}" --tcp localhost:0
expect_line stderr 'insecure-tcp'
check_image

each "in the background, with relative paths"
run_check "$SERVER" "${IMAGE[@]}" --socket socket --pid-file pid --daemonize
pid=$(cat pid)
run_check nbdinfo "$URI"
[ "$(stat -c %a socket)" = 600 ] || fail "the socket's mode is $(stat -c %a socket)"
[ "$(cut -d' ' -f6 "/proc/$pid/stat")" = "$pid" ] || fail "it is not the head of a session"

each "a second server: the disk is in use, and so is the socket"
run_mustfail 1 "$SERVER" "${IMAGE[@]}" --socket "$PWD/other"
qemu-img create -q -f parallels second.hds 1M
run_mustfail 1 "$SERVER" --image "ploop:-1::0::$PWD/second.hds" --socket "$PWD/socket"
expect_line stderr 'socket: another server listens there'
run_check nbdinfo "$URI"

each "SIGTERM ends it, with the image clean"
kill -TERM "$pid"
await is_dead "$pid" || fail "it lives on"
[ ! -e pid ] && [ ! -e socket ] || fail "pid file or socket are left"
check_image

each "a dead server's socket is replaced"
start_server
kill -KILL "$SERVER_PID"
wait "$SERVER_PID" 2>/dev/null
[ -S socket ] || fail "kill -9 should leave a socket"
start_server
run_check nbdinfo "$URI"

each "SIGUSR1 tells what it does"
kill -USR1 "$SERVER_PID"
await grep -q 'nbd peers=' server.log || fail "it tells nothing"

stop_server

each "another user is turned away"
if [ "$(id -u)" = 0 ]; then
	chmod 777 .
	start_server
	chmod 666 socket
	run_mustfail 1 setpriv --reuid=65534 --clear-groups nbdinfo "$URI"
	expect_line server.log 'uid=65534'
	stop_server
	start_server --allow-uid 65534
	chmod 666 socket
	run_check setpriv --reuid=65534 --clear-groups nbdinfo "$URI"
	stop_server
fi

each "the service manager is told: ready, and on its way out; but not by one that is in the background"
need python3
cat >manager.py <<'END'
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\0"))
print("listening", flush=True)
while True:
    text = s.recv(4096).decode()
    print(text.replace("\n", " "), flush=True)
    if "STOPPING=1" in text:
        break
END
# start_manager NAME: what it is told goes to ./told.
start_manager()
{
	rm -f manager told
	timeout 60 python3 manager.py "$1" >told &
	manager=$!
	await grep -q listening told || fail "no manager"
}

for name in "$PWD/manager" "@$PWD/manager"; do
	start_manager "$name"
	NOTIFY_SOCKET=$name start_server
	await grep -q '^READY=1 ' told || fail "not told that it is ready"
	! tr '\0' '\n' <"/proc/$(holder_of disk.hds)/environ" | grep NOTIFY_SOCKET || fail "the holder could tell it, too"
	stop_server
	wait $manager || fail "not told that it stops"
done
start_manager "$PWD/manager"
run_check env NOTIFY_SOCKET="$PWD/manager" "$SERVER" "${IMAGE[@]}" --socket socket --pid-file pid --daemonize
pid=$(cat pid)
kill -TERM "$pid"
await is_dead "$pid" || fail "it lives on"
kill $manager
[ "$(cat told)" = listening ] || fail "told by one in the background"
