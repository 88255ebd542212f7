#!/bin/bash
# The server dies, and is replaced by another program, under a disk at work over nbd and device-mapper: no request fails
# and no write is lost. When nobody starts it again, requests wait until the disk is unmounted. ROUNDS=50 for more kills,
# PAUSE=3 for seconds between them: then the longest request of a pass is that of one kill.
# timeout: 1000
LAB_SECONDS=$((200 + 15 * ${ROUNDS:-5}))
. "$(dirname "$0")/lib.sh"
need fio dmsetup

mkdir a
run_check ploop init -s 128M a/root.hds
run_check ploop mount -m mnt a
expect_line stdout '^Transport nbd '
is_state a kept true || fail "nobody keeps it"

each "killed again and again"
until [ -e enough ]; do
	fio --name=load --filename=mnt/file --ioengine=libaio --direct=1 --iodepth=16 --rw=randwrite --bs=4k --size=12M \
		--verify=crc32c --verify_fatal=1 --verify_state_save=0 --output-format=json --output=fio.json || exit 1
	jq -r '.jobs[0] | "errors \(.error), longest request \([.read, .write | .lat_ns.max / 1e6 | floor] | max) ms"' fio.json
done &
job=$!
for round in $(seq "${ROUNDS:-5}"); do
	server=$(device_of a server_pid)
	run_check kill -KILL "$server"
	dd if=/dev/urandom of=mnt/gap bs=64k count=1 oflag=direct conv=fsync status=none || fail "a request in the gap failed"
	await is_served_by_another a "$server" || fail "no other server came"
	kill -0 $job || fail "fio ended"
	sleep "${PAUSE:-0}"
done
each "replaced: the kernel's connection goes on"
server=$(device_of a server_pid)
echo "a server is replaced" >/dev/kmsg
run_check ploop server upgrade a
await is_served_by_another a "$server" || fail "no other server came"
dmesg | sed '1,/a server is replaced/d' >log
expect_no log 'reconnected socket|Receive control failed'
touch enough
wait $job || fail "fio saw an error: $(cat fio.json)"
run_check ploop umount a
expect_no_devices
expect_clean a

each "nobody starts it again: requests wait, unmounting ends that"
run_check ploop mount -m mnt a
seq 100000 >mnt/lost
lose_server a
sync mnt/lost &
waits=$!
sleep 1
kill -0 $waits 2>/dev/null || fail "a request that nobody answers has ended"
run_check ploop umount a
wait $waits && fail "what was given up is said to be durable"
expect_no_devices
run_check ploop mount -F -m mnt a
run_check ploop umount a
expect_clean a
