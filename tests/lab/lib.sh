# What the lab tests share: a test that reads this starts itself again on the lab's kernel, and goes on there. They run
# on nbd and device-mapper; what they leave of either fails them. LAB_SECONDS: how long the guest may take; LAB_MIB: its
# memory.
if [ -z "${IN_LAB-}" ]; then
	exec "$(dirname "${BASH_SOURCE[0]}")/in-kernel" -t "${LAB_SECONDS:-250}" -m "${LAB_MIB:-384}" "$0"
fi
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$SRC/tests/mounted.sh"

# Devices of both kinds that are up.
kernel_devices()
{
	local device
	for device in /sys/block/nbd*; do
		[ ! -e "$device/pid" ] || echo "${device#/sys/block/} is connected to $(cat "$device/backend")"
	done
	dmsetup info -c --noheadings -o name,open 2>/dev/null | grep ':'
	find /dev/mapper -type b
}

expect_no_devices()
{
	local left
	expect_nothing_left
	left=$(kernel_devices)
	[ -z "$left" ] || fail "left: $left"
}
