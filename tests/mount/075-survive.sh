#!/bin/bash
# The server is killed under a file system at work, and nobody notices: every write and read goes on, without an error,
# and what was written is there, read back at once and after a remount. In some rounds its keeper is killed before, its
# holder with it, or the server that came after. Each round prints the longest that a request took. ROUNDS=50 for more.
# timeout: 1800
# alone
. "$(dirname "$0")/lib.sh"
need fio

mkdir a
run_check ploop init -s 256M a/root.hds
run_check ploop mount -m mnt a
device=$(device_of a device)
is_state a kept true || fail "it has no keeper"

each "the three processes are the last to be killed, for memory or by a host that goes down, in sessions of their own"
shielded=$( (echo -1000 >/proc/self/oom_score_adj) 2>/dev/null && echo -1000 || cat /proc/self/oom_score_adj) # if we may
for pid in $(device_of a server_pid) $(keeper_of a) $(holder_of a/root.hds); do
	[ "$(cat "/proc/$pid/oom_score_adj")" = "$shielded" ] || fail "process $pid is not shielded"
	[ "$(head -c 1 "/proc/$pid/cmdline")" = @ ] || fail "process $pid has no mark"
	[ "$(ps -o sid= -p "$pid" | tr -d ' ')" != "$(ps -o sid= -p $$ | tr -d ' ')" ] || fail "process $pid is in our session"
done
grep -q '^VmLck:.* [1-9][0-9]* kB' "/proc/$(device_of a server_pid)/status" || fail "no memory is locked"

# io NAME WORD...: 4k at random, with checksums; the same bytes every time it is called in a round.
io()
{
	timeout 120 fio --name="$1" --filename=mnt/file --ioengine=libaio --direct=1 --iodepth=16 --rw=randwrite --bs=4k \
		--size=48M --verify=crc32c --verify_fatal=1 --randseed="$round" --verify_state_save=0 \
		--output-format=json --output=fio.json "${@:2}"
}

# kill_server [ANOTHER...]: and the other processes just before.
kill_server()
{
	local server
	server=$(device_of a server_pid)
	run_check kill -KILL "$@" "$server"
	await is_served_by_another a "$server" || fail "no other server came"
}

for round in $(seq "${ROUNDS:-5}"); do
	each "round $round"
	io write --do_verify=1 &
	job=$!
	sleep "0.$((RANDOM % 6 + 1))"
	case $((round % 5)) in
	2)
		keeper=$(keeper_of a)
		run_check kill -KILL "$keeper"
		await is_no_state a kept false || fail "no other keeper came"
		[ "$(keeper_of a)" != "$keeper" ] || fail "the keeper lives"
		kill_server
		;;
	3) kill_server "$(holder_of a/root.hds)" ;;
	4)
		kill_server
		kill_server
		;;
	*) kill_server ;;
	esac
	wait $job || fail "fio saw an error"
	jq -r '.jobs[0] | "errors \(.error), longest request \([.read, .write, .sync | .lat_ns.max / 1e6 | floor] | max) ms"' \
		fio.json | tee stall
	grep -q '^errors 0,' stall || fail "fio counted an error"
	[ "$(sed 's/.*request \(.*\) ms/\1/' stall)" -lt 15000 ] || fail "the guest waited too long"
	is_state a device "$device" || fail "it has another device"
done

each "after a remount"
run_check ploop umount a
expect_nothing_left
expect_clean a
run_check ploop mount -m mnt a
io again --verify_only=1 || fail "what was written is not there"
run_check ploop umount a
expect_nothing_left
