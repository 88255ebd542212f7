#!/bin/bash
# A mounted disk with partly written clusters comes down: filled; when told not to wait, unfinished, and it says so; interrupted
# in the middle, it stays where it is. What was filled until then stays filled, and what follows goes on from there.
. "$(dirname "$0")/lib.sh"
need python3 qemu-io

CLUSTERS=400 # enough that an interruption comes in time

mkdir d
run_check ploop -v0 init -s 512M -t none d/root.hds
map_all_sparsely d/root.hds

# first_writes NUMBER: a block of 4 KiB of that number into each cluster
first_writes()
{
	python3 - "$(device_of d device)" "$1" $CLUSTERS <<'PY' || fail "it cannot be written"
import mmap, os, sys
block = mmap.mmap(-1, 4096) # direct I/O wants it aligned
block.write(bytes([int(sys.argv[2])]) * 4096)
device = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
for cluster in range(int(sys.argv[3])):
    os.pwrite(device, block, (cluster << 20) + (cluster % 256 << 12))
os.fsync(device)
PY
}

unfinished()
{
	"$PLOOP" info -s --json d | jq .unfinished_clusters
}

# catches PID: does it listen to SIGINT, or has it ended? For await.
catches()
{
	local mask
	[ -e "/proc/$1" ] || return 0
	mask=$(sed -n 's/^SigCgt:\t//p' "/proc/$1/status" 2>/dev/null)
	(((16#${mask:-0} & 2) != 0))
}
# interrupt COMMAND...: as soon as it listens
interrupt()
{
	echo "\$ $* (interrupted)"
	"$@" >stdout 2>stderr </dev/null &
	local pid=$!
	await catches $pid || fail "it does not listen"
	kill -INT $pid
	wait $pid
	RC=$?
	cat stdout stderr
}

expect_content()
{
	local c words=()
	for c in 0 17 255 $((CLUSTERS - 1)); do
		words+=(-c "read -P $1 $(((c << 10) + (c % 256 << 2)))k 4k" -c "read -P 0 $(((c << 10) + ((c + 1) % 256 << 2)))k 4k")
	done
	run_check ploop mount -r d
	run_check qemu-io -r -f raw "${words[@]}" "$(device_of d device)"
	expect_no stdout 'Pattern verification failed'
	run_check ploop umount d
}

# A guest that rests is filled behind its back: on a slow machine all may be whole before we come to look.
leave()
{
	run_check ploop snapshot d
	run_check ploop mount d
	first_writes "$1"
	run_check ploop umount --no-wait d
	expect_nothing_left
	before=$(unfinished)
}

each "umount interrupted: the disk stays, and comes down when asked again"
for try in 1 2 3; do
	run_check ploop snapshot d
	run_check ploop mount d
	first_writes 7
	interrupt ploop umount d
	[ "$RC" = 0 ] || break
done
[ "$RC" != 0 ] || fail "the signal came too late, $try times"
expect_line stderr 'interrupted'
is_state d starting false || fail "it is gone"
run_check ploop umount d
[ "$(unfinished)" = 0 ] || fail "$(unfinished) clusters are left"
expect_content 7

each "umount --no-wait leaves them, finish is interrupted and goes on"
for try in 1 2 3; do
	leave 8
	[ "$before" -gt 0 ] || continue
	expect_line stderr 'stays unfinished.*ploop finish'
	expect_content 8
	[ "$(unfinished)" = "$before" ] || fail "a reader has changed it"
	interrupt ploop finish d
	[ "$RC" = 0 ] || break
done
[ "$RC" != 0 ] || fail "the signal came too late, $try times"
expect_line stderr 'interrupted: what is filled stays filled'
left=$(unfinished)
echo "$left of $before clusters are left"
((left > 0 && left <= before)) || fail "all of it was filled"
run_check ploop finish d
[ "$(unfinished)" = 0 ] || fail "$(unfinished) clusters are left"
for image in d/root.hds*; do
	run_check qemu-img check -f parallels "$image"
done
expect_content 8
expect_nothing_left
