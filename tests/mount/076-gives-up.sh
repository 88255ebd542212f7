#!/bin/bash
# A server that cannot be started: the keeper gives up and says why, requests wait and nothing fails, it goes on when
# told, or ends when forced; and a server dies while another operation has its bundle.
# alone
. "$(dirname "$0")/lib.sh"

mkdir a bin
cp "$BUILD"/ploop "$BUILD"/ploop-server "$BUILD"/ploop-holder "$BUILD"/ploop-keeper bin
PLOOP=$SCRATCH/bin/ploop # they find each other by where they lie
run_check ploop init -s 64M a/root.hds

# lose_program: from here on its server cannot be started.
lose_program()
{
	server=$(device_of a server_pid)
	mv bin/ploop-server bin/away
	run_check kill -KILL "$server"
	await is_state a waiting true || fail "the keeper does not give up"
}

each "it gives up, says so, and goes on when told"
run_check ploop mount -m mnt a
lose_program
run_check ploop list --json
expect_line stdout '"why":".*ploop-server: No such file'
run_mustfail 46 ploop umount a
expect_line stderr 'ploop server restart'
run_mustfail 1 ploop server restart a
expect_line stderr 'died again'
(echo late >mnt/late && sync -f mnt) &
job=$!
sleep 0.3
kill -0 $job || fail "a write did not wait for the server"
mv bin/away bin/ploop-server
run_check ploop server restart a
wait $job || fail "a write failed that should have waited"
is_state a waiting false || fail "it still waits"
run_mustfail 1 ploop server restart a
expect_line stderr 'runs'
run_check ploop umount a
expect_nothing_left
expect_clean a

each "it gives up, and is given up"
run_check ploop mount -m mnt a
[ "$(cat mnt/late)" = late ] || fail "lost what was written late"
lose_program
(dd if=/dev/zero of=mnt/never bs=64k count=16 oflag=direct 2>&1) &
job=$!
sleep 0.3
kill -0 $job || fail "a write did not wait for the server"
run_check ploop umount --force a
expect_line stderr 'may be lost'
wait $job && fail "a write is said to be done that nobody wrote"
expect_nothing_left
mv bin/away bin/ploop-server
run_check ploop mount -F -m mnt a # its journal was cut off
run_check ploop umount a
expect_clean a

each "a running server can be ended by force too"
run_check ploop mount -m mnt a
run_check ploop umount --force a
expect_nothing_left
run_check ploop mount -F -m mnt a
run_check ploop umount a
expect_clean a

each "it dies while somebody else has the bundle: the next one waits for that"
run_check ploop mount -m mnt a
server=$(device_of a server_pid)
exec 5<a
flock 5
run_check kill -KILL "$server"
sleep 0.5
is_state a starting true || fail "nobody waits for the bundle"
flock -u 5
await is_served_by_another a "$server" || fail "no other server came"
echo there >mnt/there
run_check ploop snapshot a
run_check ploop umount a
expect_nothing_left

each "a list of images, from another folder, is found again"
run_check ploop init -s 64M -t none b.hds
run_check ploop mount b.hds
device=$("$PLOOP" list --json | jq -r '.devices[] | select(.base | endswith("b.hds")) | .device')
server=$("$PLOOP" list --json | jq -r '.devices[] | select(.base | endswith("b.hds")) | .server_pid')
run_check kill -KILL "$server"
run_check dd if="$device" of=/dev/null bs=1M count=8 iflag=direct
run_check ploop umount -d "$device"
expect_nothing_left
