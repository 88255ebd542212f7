# What tests with mounted disks share, on top of tests/lib.sh. They promise that nothing is left: no mount, no block
# device, no node, no server, no entry in the registry.
need jq losetup e2fsck

mkdir mnt

# device_of DISK KEY: one field of `ploop list --json` for the disk whose base image lies in that folder.
device_of()
{
	"$PLOOP" list --json | jq -r --arg base "$SCRATCH/$1/" ".devices[] | select(.base | startswith(\$base)) | .$2"
}

# is_state DISK KEY VALUE, is_no_state DISK KEY VALUE: for await.
is_state()
{
	[ "$(device_of "$1" "$2")" = "$3" ]
}
is_no_state()
{
	! is_state "$@"
}

# keeper_of DISK: the pid of the process that starts its server again.
keeper_of()
{
	pgrep -f "^@[p]loop-keeper /run/ploop/$(device_of "$1" name)/keeper$"
}

# is_served_by_another DISK PID: a server is ready, and it is not that one.
is_served_by_another()
{
	local pid
	pid=$(device_of "$1" server_pid)
	[ -n "$pid" ] && [ "$pid" != 0 ] && [ "$pid" != "$2" ] && is_state "$1" starting false
}

# lose_server DISK: it dies, and nobody starts it again.
lose_server()
{
	local server
	server=$(device_of "$1" server_pid)
	run_check kill -STOP "$server" # or it might have another keeper before it dies
	run_check kill -KILL "$(keeper_of "$1")" "$server"
	await is_dead "$server" || fail "the server lives"
}

# Everything of this test's disks that is up; servers by the images in their words.
left_of_test()
{
	grep -F "$SCRATCH" /proc/self/mountinfo
	"$PLOOP" list --json | jq -r --arg dir "$SCRATCH/" '.devices[] | select(.base | startswith($dir)) | .name'
	grep -alF "$SCRATCH/" /proc/[0-9]*/cmdline 2>/dev/null | while read -r file; do
		tr '\0' '\n' <"$file" | grep -q 'ploop-server$' && tr '\0' ' ' <"$file"
	done 2>/dev/null
	return 0
}

expect_nothing_left()
{
	local left
	left=$(left_of_test)
	[ -z "$left" ] || fail "left: $left"
}

# Whatever happens, take down what a failed test has up.
clean_up()
{
	local device
	cd /
	for device in $("$PLOOP" list --json | jq -r --arg dir "$SCRATCH/" '.devices[] | select(.base | startswith($dir)) | .device'); do
		"$PLOOP" umount --timeout 5 --force -d "$device" >/dev/null 2>&1
	done
}
at_end clean_up

# expect_clean DISK: closed, consistent, and the file system in it too.
expect_clean()
{
	run_check ploop check -r -f "$1"
	run_check ploop mount -r "$1"
	run_check e2fsck -fn "$(device_of "$1" partition)"
	run_check ploop umount "$1"
}
