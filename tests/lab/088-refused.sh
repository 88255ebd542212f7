#!/bin/bash
# A host that refuses, for real. A user's quota makes writes wait as a full disk does (D8). A device that fails gives the
# guest errors, which are counted, and when it works again all is there that was promised; but after a sync that failed the
# guest is promised nothing until the disk was closed and looked at anew.
# timeout: 300
LAB_SECONDS=200
. "$(dirname "$0")/lib.sh"
need fio python3 dmsetup mkfs.ext4
modprobe loop
export DM_DISABLE_UDEV=1 # it makes its nodes itself
for module in quota_v2 dm-flakey; do
	modprobe $module || skip "this kernel has no $module"
done

# new_device NAME: 96 MiB of its own as /dev/mapper/NAME
new_device()
{
	truncate -s 96M "$1.img"
	loop=$(losetup -f --show "$1.img") || skip "no loop device"
	sectors=$(blockdev --getsz "$loop")
	run_check dmsetup create "$1" --table "0 $sectors linear $loop 0"
}

# put NAME TARGET [WORD...]: what the device is from now on
put()
{
	run_check dmsetup load "$1" --table "0 $sectors ${*:2}"
	run_check dmsetup suspend --nolockfs "$1"
	run_check dmsetup resume "$1"
}

remove_device()
{
	run_check umount "$2"
	run_check dmsetup remove "$1"
	run_check losetup -d "$loop"
}

# limit KIB: what nobody may have there, 0: anything
limit()
{
	python3 - "$1" <<'PY' || fail "no quota"
import ctypes, struct, sys
Q_SETQUOTA, USRQUOTA, QIF_BLIMITS = 0x800008, 0, 1
quota = struct.pack('=8QI4x', int(sys.argv[1]), 0, 0, 0, 0, 0, 0, 0, QIF_BLIMITS)
libc = ctypes.CDLL(None, use_errno=True)
if libc.quotactl(ctypes.c_int(Q_SETQUOTA << 8 | USRQUOTA), b'/dev/mapper/lent', 65534, quota) != 0:
    sys.exit(ctypes.get_errno())
PY
}

each "over the quota of its user, it waits; with more it goes on"
mkdir host /run/bin /run/lent # where nobody may go, too
cp "$BUILD"/ploop "$BUILD"/ploop-server "$BUILD"/ploop-holder "$BUILD"/ploop-keeper /run/bin
new_device lent
run_check mkfs.ext4 -q -O quota -E quotatype=usrquota /dev/mapper/lent
mount -o usrquota /dev/mapper/lent /run/lent || skip "this kernel has no quotas for ext4"
mkdir /run/lent/d
mkdir -m 700 /run/nobody
chown 65534 /run/lent/d /run/nobody
user() { as_user env XDG_RUNTIME_DIR=/run/nobody /run/bin/ploop "$@"; }
user init -s 64M -t none /run/lent/d/root.hds >/dev/null || fail "init"
limit 8192
user serve --daemonize --socket "/run/lent/d/socket" --pid-file "/run/lent/d/pid" /run/lent/d || fail "serve"
timeout 100 fio --name=v --ioengine=nbd --uri="nbd+unix:///?socket=/run/lent/d/socket" --rw=randwrite --bs=64k --iodepth=8 \
	--size=24M --verify=crc32c --do_verify=1 --output=fio.log >/dev/null 2>&1 &
fio=$!
is_over() { user stat /run/lent/d 2>/dev/null | grep -q 'Disk quota exceeded'; }
await is_over || { cat fio.log; fail "nothing waits"; }
kill -0 $fio || fail "fio did not wait"
limit 0
wait $fio || { cat fio.log; fail "fio"; }
grep -q 'err= 0' fio.log || { cat fio.log; fail "fio met an error"; }
kill "$(cat /run/lent/d/pid)"
await is_gone /run/lent/d/pid || fail "the server does not end"
user check -f /run/lent/d || fail "check"
remove_device lent /run/lent

each "a device that fails: errors, told, and nothing of what was durable is lost"
new_device failing
run_check mkfs.ext4 -q -O ^has_journal /dev/mapper/failing
run_check mount /dev/mapper/failing host
mkdir host/e
run_check ploop init -s 32M -t none host/e/root.hds
run_check ploop mount host/e
device=$(device_of host/e device)
dd if=/dev/urandom of=before bs=1M count=8 status=none
run_check dd if=before of="$device" bs=1M oflag=direct conv=fsync
put failing error
run_mustfail 1 dd if="$device" of=/dev/null bs=64k count=1 iflag=direct
expect_line stderr 'Input/output error'
put failing linear "$loop" 0
run_check cmp -n 8388608 before "$device"
"$PLOOP" stat --json host/e >stdout
[ "$(jq '.disks[0].read_errors >= 1 and .disks[0].storage_errors >= 1' stdout)" = true ] || fail "no error was counted"
[ "$(jq '.disks[0].failed' stdout)" = false ] || fail "an error of a read is final"

each "a sync that fails is final, though the device works again"
run_check dd if=before of="$device" bs=64k count=1 seek=256 oflag=direct conv=notrunc # its place in the BAT is not durable
put failing flakey "$loop" 0 0 1000 1 error_writes
run_mustfail 1 sync "$device"
put failing linear "$loop" 0
run_mustfail 1 dd if=before of="$device" bs=64k count=1 oflag=direct conv=fsync,notrunc
"$PLOOP" stat --json host/e >stdout
[ "$(jq '.disks[0].failed' stdout)" = true ] || fail "it is not said to have failed"

each "opened anew it holds what was promised"
run_mayfail ploop umount host/e # which may say that it failed
run_check ploop check host/e
run_check ploop mount host/e
run_check cmp -n 8388608 before "$(device_of host/e device)"
run_check dd if=before of="$(device_of host/e device)" bs=64k count=1 oflag=direct conv=fsync,notrunc
run_check ploop umount host/e
run_check ploop check -f host/e
remove_device failing host
expect_no_devices
