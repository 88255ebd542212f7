#!/bin/bash
# D2 with another client: fio writes, the server is killed, and fio checks what the next one serves.
# timeout: 1800
. "$(dirname "$0")/../nbd/server.sh"
need fio
fio --enghelp 2>/dev/null | grep -qw nbd || skip "this fio has no nbd engine"

make_image 64M
job=(--name=kill --ioengine=nbd --uri="$URI" --verify=crc32c --verify_fatal=1 --rw=randwrite --bs=4k --size=32M
	--output-format=terse --allrandrepeat=1)
for round in $(seq "${ROUNDS:-3}"); do
	each "round $round"
	start_server
	# All that fio writes here is acknowledged before the kill; none of it is flushed.
	run_check timeout 120 fio "${job[@]}" --iodepth=32 --do_verify=0 --randseed="$round"
	kill -KILL "$SERVER_PID"
	wait "$SERVER_PID" 2>/dev/null
	start_server
	run_check timeout 120 fio "${job[@]}" --iodepth=32 --verify_only=1 --randseed="$round"
	stop_server
	check_image
done
