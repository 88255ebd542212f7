#!/bin/bash
# Snapshots of a mounted disk: seen beside it, frozen and thawed whatever happens to the command, temporary ones for backups.
# alone
. "$(dirname "$0")/lib.sh"
need fsfreeze

mkdir a old
A='{aaaaaaaa-1111-4111-8111-111111111111}'
B='{bbbbbbbb-2222-4222-8222-222222222222}'
C='{cccccccc-3333-4333-8333-333333333333}'
run_check ploop init -s 128M a/root.hds
run_check ploop mount -m mnt a
echo one >mnt/file
sync -f mnt

each "a snapshot while it is mounted, and a look at it beside the disk"
run_check ploop snapshot -u "$A" a
expect_line stdout '^requests were held for'
echo two >mnt/file
run_check ploop mount -u "$A" -c look -m old a
expect_line stdout ' ro$'
[ "$(cat old/file) $(cat mnt/file)" = 'one two' ] || fail "content"
run_mustfail 1 touch old/new
each "which keeps the snapshot from being removed"
run_mustfail 17 ploop snapshot-delete -u "$A" a
run_check ploop umount -c look a

each "frozen: no journal to replay, and everything that was written before is in it"
echo unsynced >mnt/unsynced
run_check ploop snapshot --freeze -u "$B" a
expect_line stdout '^requests were held for .*, the file system was frozen$'
run_mustfail 1 fsfreeze -u mnt
run_check ploop mount -u "$B" -c look -m old a
expect_line stdout "data='lazytime' ro$"
[ "$(cat old/unsynced)" = unsynced ] || fail "content"
run_check e2fsck -fn "$("$PLOOP" list --json | jq -r '.devices[] | select(.component == "look") | .partition')"
run_check ploop umount -c look a

each "a command that is killed leaves nothing frozen"
for i in $(seq 20); do
	"$PLOOP" snapshot --freeze -u "$C" a >/dev/null 2>&1 &
	sleep "0.0$((i * 4 % 10))$((i % 7))"
	kill -KILL $! 2>/dev/null
	wait $! 2>/dev/null
	timeout 20 sh -c "echo $i >mnt/after && sync mnt/after" || fail "the file system is frozen"
	# what it left is finished or undone by the next command
	run_mayfail ploop snapshot-delete -u "$C" a
	[ "$RC" = 0 ] || [ "$RC" = 43 ] || fail "exit code $RC"
done
run_mustfail 1 fsfreeze -u mnt
[ "$("$PLOOP" snapshot-list -H a | wc -l)" = 3 ] || fail "not three images"

each "a merge while it is mounted"
run_check ploop snapshot-delete -u "$A" a
[ "$(cat mnt/file)" = two ] || fail "content"

each "a temporary snapshot for a backup"
run_check ploop tsnapshot -u "$C" -c backup -m old a
expect_line stdout "^ploop temporary snapshot $C has been successfully created$"
[ "$(tail -n1 stdout)" = "ploop temporary snapshot $C has been successfully created" ] || fail "it is not the last line"
[ "$(cat old/file)" = two ] || fail "content"
run_check ploop list
expect_line stdout '	~backup$'
echo three >mnt/file
run_check ploop snapshot-list --json a
[ "$(jq -r '.snapshots[] | select(.temporary) | .uuid' stdout)" = "$C" ] || fail "it is not temporary"
grep -A2 "<GUID>$C</GUID>" a/DiskDescriptor.xml | tail -n3 >shot
expect_line shot "^      <ParentGUID>$B</ParentGUID>$"
expect_line shot '^      <Temporary/>$'
each "which cannot go while its device is there"
run_mustfail 17 ploop snapshot-delete -u "$C" a
run_check ploop umount -c '~backup' a
run_check ploop snapshot-delete -u "$C" a
run_check ploop snapshot-list -H -o uuid a
expect_no stdout "^$C$"

each "one that cannot be mounted is removed again"
run_mustfail 21 ploop tsnapshot -u "$C" -c backup -m nowhere a
echo >plain
run_mustfail 21 ploop tsnapshot -u "$C" -c backup -m plain a
run_check ploop snapshot-list -H -o uuid a
expect_no stdout "^$C$"

[ "$(cat mnt/file)" = three ] || fail "content"
each "one that is left over goes with the next operation on the stopped disk"
run_check ploop tsnapshot -u "$C" -c backup a
run_check ploop umount -c '~backup' a
run_check ploop umount a
expect_nothing_left
run_check ploop snapshot-list -H -o uuid a
expect_line stdout "^$C$"
run_check ploop snapshot a
run_check ploop snapshot-list -H -o uuid a
expect_no stdout "^$C$"
run_check ploop snapshot-merge -A a
expect_clean a
run_check ploop mount -m mnt a
[ "$(cat mnt/file)" = three ] || fail "content"
run_check ploop umount a
expect_nothing_left
