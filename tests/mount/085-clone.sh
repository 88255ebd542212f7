#!/bin/bash
# Clones of a mounted disk, mounted beside it: each with a UUID of its own, and what was written before is in them.
# alone
. "$(dirname "$0")/lib.sh"
need blkid fsfreeze

uuid_of()
{
	blkid -p -s UUID -o value "$(device_of "$1" partition)"
}

mkdir a other
run_check ploop init -s 128M a/root.hds
run_check ploop mount -m mnt a
echo unsynced >mnt/file

each "frozen: nothing is left in caches or in the journal"
run_check ploop clone --linked --freeze a linked
expect_line stdout 'has the new snapshot'
expect_no stdout 'journal'
run_check ploop clone --full --freeze a full
expect_no stdout 'journal|has the new snapshot'
run_mustfail 1 fsfreeze -u mnt

each "not frozen: the journal is told of"
sync -f mnt
run_check ploop clone --linked a raw
expect_line stdout 'the replay of its journal may bring the old UUID back$'

each "beside their source"
for clone in linked full raw; do
	run_check ploop mount -m other $clone
	[ "$(cat other/file)" = unsynced ] || fail "content of $clone"
	echo $clone >other/own || fail "$clone cannot be written"
	[ $clone = raw ] || [ "$(uuid_of a)" != "$(uuid_of $clone)" ] || fail "$clone has the UUID of its source"
	run_check ploop umount $clone
	expect_clean $clone
done
[ ! -e mnt/own ] || fail "what a clone wrote is in the source"

each "what is mounted is neither moved nor sealed"
for words in 'move a b' 'clone --seal a'; do
	# shellcheck disable=SC2086 # words
	run_mustfail 37 ploop $words
	expect_line stderr 'it is attached as /dev/mapper/ploop'
done
run_check ploop umount a
expect_clean a

each "a template is mounted for reading only"
run_check ploop clone --seal a
run_check ploop mount -r -m mnt a
[ "$(cat mnt/file)" = unsynced ] || fail content
run_check ploop clone --linked a again
run_check ploop umount a
run_check ploop mount -m mnt again
[ "$(cat mnt/file)" = unsynced ] || fail content
run_check ploop umount again
expect_nothing_left
