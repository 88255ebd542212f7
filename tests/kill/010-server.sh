#!/bin/bash
# D2: the server is killed again and again under a client that notes what was acknowledged; the next server has it all,
# flushed or not. ROUNDS=50 for more.
# timeout: 1800
. "$(dirname "$0")/lib.sh"

for round in $(seq "${ROUNDS:-5}"); do
	each "round $round"
	write_for_a_moment "$round"
	kill -KILL "$SERVER_PID"
	wait "$SERVER_PID" 2>/dev/null
	end_writer
	start_server
	run_check "$WRITER" verify "$URI" promises
	# Every other round the dead one's successor dies too, before it has made anything durable.
	if [ $((round % 2)) = 0 ]; then
		kill -KILL "$SERVER_PID"
		wait "$SERVER_PID" 2>/dev/null
		start_server
		run_check "$WRITER" verify "$URI" promises
	fi
	stop_server
	check_image
done
