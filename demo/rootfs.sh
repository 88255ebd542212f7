# Root file systems for a container disk, and running a program inside. Sourced by demo.sh and by the tests.

# root_from_debian DIR: a minimal Debian from the mirror; false when the mirror or the tools are out of reach.
root_from_debian()
{
	local suite=bookworm
	if command -v mmdebstrap >/dev/null; then
		timeout 600 mmdebstrap --quiet --variant=minbase --skip=check/empty "$suite" "$1" # lost+found is there
	elif command -v debootstrap >/dev/null; then
		timeout 900 debootstrap --variant=minbase "$suite" "$1" >/dev/null
	else
		return 1
	fi
}

# root_from_busybox DIR: one static program under its many names.
root_from_busybox()
{
	local applet
	mkdir -p "$1/bin" "$1/dev" "$1/etc" "$1/proc" "$1/tmp"
	mknod -m 666 "$1/dev/null" c 1 3
	cp "$(command -v busybox)" "$1/bin/busybox"
	for applet in $("$1/bin/busybox" --list); do
		[ "$applet" = busybox ] || ln -sf busybox "$1/bin/$applet"
	done
	printf 'PRETTY_NAME="busybox, no mirror in reach"\n' >"$1/etc/os-release"
}

# run_inside DIR COMMAND: run a shell command with DIR as its root, in mount, process and host-name namespaces of its own
# where these can be had (not so inside a chroot, whose root is no mount point).
run_inside()
{
	if unshare --mount true 2>/dev/null; then
		unshare --mount --uts --ipc --pid --fork --mount-proc="$1/proc" chroot "$1" /bin/sh -c "$2"
	else
		chroot "$1" /bin/sh -c "$2"
	fi
}
