#!/bin/bash
# Server and holder are killed at once: what was flushed is there, and the image is sound. ROUNDS=50 for more.
# timeout: 1800
. "$(dirname "$0")/lib.sh"

for round in $(seq "${ROUNDS:-5}"); do
	each "round $round"
	write_for_a_moment "$round"
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
