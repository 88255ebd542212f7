#!/bin/bash
# The server and its keeper, and in every second round its holder with them, are killed under a file system at work: after
# unmounting and mounting again the journal replays, the file system is consistent and every file whose sync had returned
# is whole. ROUNDS=50 for more.
# timeout: 1800
# alone
. "$(dirname "$0")/lib.sh"
need sha256sum

mkdir a
run_check ploop init -s 256M a/root.hds

# Small files forever; the name of one is noted only when its sync has returned.
work()
{
	local i=0 file
	while :; do
		file=mnt/$1.$((i++))
		head -c $((RANDOM * 3 + 1)) /dev/urandom >"$file" 2>/dev/null && sync "$file" 2>/dev/null || return 0
		sha256sum "$file" >>"synced.$1"
	done
}

for round in $(seq "${ROUNDS:-5}"); do
	each "round $round"
	run_check ploop mount -m mnt a
	rm -rf mnt/w* synced.*
	work "w1" &
	work "w2" &
	sleep "0.$((RANDOM % 9 + 1))"
	victims="$(keeper_of a) $(device_of a server_pid)"
	if [ $((round % 2)) = 0 ]; then
		holder=$(holder_of a/root.hds)
		[ -n "$holder" ] || fail "the server has no holder"
		victims+=" $holder"
	fi
	run_check kill -KILL $victims
	wait
	run_check ploop umount --timeout 20 a
	expect_nothing_left
	run_check ploop mount -F -m mnt a
	for list in synced.*; do
		[ ! -e "$list" ] || sha256sum --quiet -c "$list" || fail "a synced file is not what it was"
	done
	cat synced.* 2>/dev/null | wc -l
	run_check ploop umount a
	expect_clean a
done
