#!/bin/bash
# D8: a full host is not an error for the guest. The write waits and goes on when there is space; reads go on meanwhile; a
# server that must stop does.
# release only
[ "$(id -u)" = 0 ] || { echo "skipped: mounting a small tmpfs needs root"; exit 77; }
. "$(dirname "$0")/server.sh"
need qemu-io nbdinfo

mkdir small
mount -t tmpfs -o size=20M none small || skip "no tmpfs can be mounted here"
small_finish()
{
	local code=$?
	[ -z "$SERVER_PID" ] || kill -KILL "$SERVER_PID" 2>/dev/null
	umount -l "$SCRATCH/small"
	(exit "$code")
	lib_finish
}
trap small_finish EXIT
run_check qemu-img create -q -f parallels small/disk.hds 1G
IMAGE=(--image "ploop:-1::0::$PWD/small/disk.hds")

each "a write of 30 MiB onto 20 MiB waits; what is there can be read"
start_server
run_check qemu-io -f raw -c "write -P 1 512M 1M" "$URI"
timeout 60 qemu-io -f raw -c "write -P 3 0 30M" "$URI" >writer.log 2>&1 &
writer=$!
await grep -q 'no space on the host' server.log || fail "there is space"
kill -0 $writer || { cat writer.log; fail "the writer did not wait"; }
run_check timeout 20 qemu-io -f raw -c "read -P 1 512M 1M" -c "write -P 2 512M 64k" "$URI"

each "and goes on by itself when there is space"
mount -o remount,size=200M small
wait $writer || { cat writer.log; fail "the writer failed"; }
run_check qemu-io -f raw -c "read -P 3 0 30M" -c "read -P 2 512M 64k" "$URI"
stop_server
expect_line server.log 'no space on the host'
run_check "$PLOOP" check -f small/disk.hds

each "the second signal ends a server whose writes wait; what was acknowledged is there"
start_server
timeout 60 qemu-io -f raw -c "write -P 5 100M 1M" -c "write -P 4 200M 300M" "$URI" >writer.log 2>&1 &
await grep -q 'no space on the host' server.log || fail "there is space"
kill -TERM "$SERVER_PID"
sleep 0.5
kill -0 "$SERVER_PID" || fail "it dropped a client that waits at the first signal"
stop_server
run_check "$PLOOP" check -f small/disk.hds
run_check qemu-io -f parallels -c "read -P 5 100M 1M" small/disk.hds
