#!/bin/bash
# FUSE and a loop device on a kernel that forgets the requests of a dead server (before 6.9): said at mount; a server is
# replaced under load all the same, since it leaves none behind; and one that dies ends the disk, at once, for good.
. "$(dirname "$0")/lib.sh"

mkdir a
run_check modprobe loop
run_check ploop init -s 64M a/root.hds
run_check ploop mount --transport fuse -m mnt a
expect_line stderr 'forgets the requests'
is_state a kept true || fail "it has no keeper"

each "replaced under load"
dd if=/dev/zero of=mnt/file bs=4k count=1000 oflag=direct 2>dd.log &
job=$!
server=$(device_of a server_pid)
run_check ploop server upgrade a
wait $job || fail "dd saw an error: $(cat dd.log)"
[ "$(device_of a server_pid)" != "$server" ] || fail "it is the same server"
run_check sync -f mnt

each "a death is the end"
run_check kill -KILL "$(device_of a server_pid)"
await is_state a alive false || fail "it is said to be alive"
run_check ploop umount a
run_check ploop mount --transport fuse -F -m mnt a
[ "$(stat -c %s mnt/file)" = 4096000 ] || fail "lost what was written"
run_check ploop umount a
expect_nothing_left
