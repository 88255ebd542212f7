#!/bin/bash
# What fio writes to the block device, with every size and many at a time, reads back, also after a remount.
# alone
. "$(dirname "$0")/lib.sh"
need fio

mkdir a
run_check ploop init -s 256M -t none a/root.hds

verify()
{
	run_check timeout 100 fio --name=verify --filename="$(device_of a device)" --ioengine=libaio --direct=1 --iodepth=32 \
		--rw=randwrite --bsrange=512-256k --blockalign=512 --size=256M --io_size=128M --verify=crc32c \
		--randseed=7 --verify_state_save=0 --output=fio.log "$@"
}

run_check ploop mount a
verify --do_verify=1
run_check ploop umount a
run_check ploop check -f -r a
run_check ploop mount a
verify --verify_only=1

each "discarded ranges read zero"
device=$(device_of a device)
run_check blkdiscard -o 1M -l 9M "$device"
cmp -n $((9 << 20)) -i $((1 << 20)):0 "$device" /dev/zero || fail "old bytes"
run_check blkdiscard -z -o 20M -l 1M "$device"
cmp -n $((1 << 20)) -i $((20 << 20)):0 "$device" /dev/zero || fail "old bytes"
run_check ploop umount a
run_check ploop check -f -r a
expect_nothing_left
