#!/bin/bash
# fio writes random lengths at random places, deep and over several connections, and reads back what it wrote.
# timeout: 600
. "$(dirname "$0")/server.sh"
need fio
fio --enghelp 2>/dev/null | grep -qw nbd || skip "this fio has no nbd engine"

make_image 256M
start_server
common=(--ioengine=nbd --uri="$URI" --verify=crc32c --verify_fatal=1 --output-format=terse --group_reporting)

each "512 bytes to 256 KiB, queue of 32"
run_check timeout 120 fio --name=mixed "${common[@]}" --rw=randwrite --bsrange=512-256k --blockalign=512 --iodepth=32 \
	--size=128M
each "4 KiB, queue of 128"
run_check timeout 120 fio --name=small "${common[@]}" --rw=randrw --bs=4k --iodepth=128 --size=32M --offset=128M
each "4 connections, 1 MiB"
run_check timeout 120 fio --name=large "${common[@]}" --rw=write --bs=1M --iodepth=4 --numjobs=4 --size=32M \
	--offset=128M --offset_increment=32M
stop_server
check_image
