#!/bin/bash
# What a disk meets in a long life: the shell that mounted it ends, everything of it is killed at once, the run directory is
# wiped. Each: a sentence, nothing left, and the next command works.
# alone
. "$(dirname "$0")/lib.sh"

mkdir a
run_check ploop init -s 64M a/root.hds

each "the session that mounted it ends, with a terminal hang-up to all in it"
setsid -w bash -c '"$0" mount -m mnt a >out 2>&1; echo $? >code; kill -HUP 0' "$PLOOP"
[ "$(cat code)" = 0 ] || { cat out; fail "mount"; }
server=$(device_of a server_pid)
is_state a alive true || fail "the server went with the session"
[ "$(ps -o sid= -p "$server" | tr -d ' ')" != "$(ps -o sid= -p $$ | tr -d ' ')" ] || fail "it is in our session"
echo works >mnt/file && run_check sync -f mnt

each "everything of it is killed at once: told, unmounted, and what was synced is there"
holder=$(holder_of a/root.hds)
lose_server a
kill -KILL "$holder" 2>/dev/null # unless it had nothing to keep, and went
run_mustfail 21 ploop mount a
expect_line stderr 'server died: unmount it first'
run_check ploop umount a
expect_line stderr 'what was not synced before may be lost'
expect_nothing_left
run_check ploop mount --transport fuse -m mnt a
[ "$(cat mnt/file)" = works ] || fail "lost what was synced"

each "the run directory is wiped: it works on, and list and umount say how to end it"
name=$(device_of a name)
server=$(device_of a server_pid)
rm -f "/run/ploop/$name"/* "/run/ploop/$(stat -c 'ctl-%D-%i' a)" 2>/dev/null
echo again >mnt/file && run_check sync -f mnt
run_check ploop list
expect_line stderr "^$name runs, but its entry in the run directory is gone"
run_mayfail ploop umount -m mnt
[ "$RC" != 0 ] || fail "it says that it has unmounted"
expect_line stderr "^$name runs, but"
# word for word
ending=$(sed -n "s/^$name runs, but .* then: //p" stderr | head -n1)
run_check umount mnt
run_check bash -c "$ending"
await is_dead "$server" || fail "the server lives on"
rm -rf "/run/ploop/$name"
each "and the next mount takes the name again"
run_check ploop mount -m mnt a
[ "$(device_of a name)" = "$name" ] || fail "it got another name"
[ "$(cat mnt/file)" = again ] || fail "content"
run_check ploop umount a
expect_clean a
expect_nothing_left
