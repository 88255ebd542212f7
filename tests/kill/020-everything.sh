#!/bin/bash
# Server and holder are killed at once: what was flushed is there, and the image is sound. ROUNDS=50 for more.
# timeout: 1800
. "$(dirname "$0")/lib.sh"
need qemu-img

for round in $(seq "${ROUNDS:-5}"); do
	each "round $round"
	# Small clusters, and often new ones: first writes are what is at stake.
	if [ $((round % 4)) != 0 ]; then
		rm -f disk.hds promises
		run_check qemu-img create -q -f parallels -o cluster_size=32768 disk.hds 64M
	fi
	start_server
	start_writer
	sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
	holder=$(holder_of disk.hds)
	[ -n "$holder" ] || fail "the server has no holder"
	kill -STOP "$SERVER_PID" # it must not start another one
	kill -KILL "$holder" "$SERVER_PID"
	wait "$SERVER_PID" 2>/dev/null
	end_writer
	start_server
	run_check "$WRITER" flushed "$URI" promises
	stop_server
	check_image
done
