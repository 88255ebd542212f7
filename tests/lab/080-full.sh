#!/bin/bash
# D8 over nbd and device-mapper: a host that is full makes the guest's writes wait, without an error and as long as it takes;
# when space appears they go on, and hold what was written. PARK_SECONDS=180 for what is promised.
# timeout: 900
LAB_SECONDS=$((250 + ${PARK_SECONDS:-1}))
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/full.sh"

modprobe loop
make_small_host
[ "$(device_of host/d transport)" = nbd ] || fail "not over nbd"
fill_host
start_fio 0
await waits || fail "nothing waits"
run_check ploop list
expect_line stderr 'no space on the host for .*/host/d/root.hds \(No space left on device\): writes wait'
stay_full
run_check ploop umount host/d
run_check ploop check -f host/d
run_check umount host
expect_no_devices
