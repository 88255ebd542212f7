#!/bin/bash
# clone says in one sentence why not, and leaves nothing behind.
. "$(dirname "$0")/../../lib.sh"
need qemu-io

mkdir d
run_check ploop init -s 64M -t none d/root.hds
run_check qemu-io -f parallels -c 'write -P 0x11 1M 8M' d/root.hds
sum=$(md5sum d/*)
unchanged()
{
	[ "$(md5sum d/*)" = "$sum" ] || fail "the source changed"
	[ -z "$(ls -A . | grep '^\.')" ] || fail "left: $(ls -A .)"
}

each "words"
run_mustfail 38 ploop clone d x
run_mustfail 38 ploop clone --linked --full d x
run_mustfail 38 ploop clone --linked d
run_mustfail 38 ploop clone --seal d x
run_mustfail 38 ploop clone --seal -k d
run_mustfail 38 ploop clone --linked d/root.hds x
run_mustfail 38 ploop clone --linked -u nonsense d x
run_mustfail 43 ploop clone --linked -u '{11111111-1111-4111-8111-111111111111}' d x
expect_line stderr 'there is no snapshot \{11111111'
unchanged

each "the target"
mkdir full
touch full/file plain
for kind in linked full; do
	run_mustfail 38 ploop clone --$kind d full
	expect_line stderr 'full exists already and is not empty$'
	run_mustfail 38 ploop clone --$kind d plain
	expect_line stderr 'plain exists already$'
	run_mustfail 38 ploop clone --$kind d d/inside
	expect_line stderr 'lies inside the folder of the disk'
	run_mustfail 38 ploop clone --$kind d .
	run_mustfail 1 ploop clone --$kind d nowhere/x
	expect_line stderr 'nowhere/x: its parent folder: No such file or directory'
	ln -sfn /nowhere link
	run_mustfail 38 ploop clone --$kind d link
	unchanged
done
mkdir empty
run_check ploop clone --full d empty/
expect_files empty DiskDescriptor.xml root.hds

each "a disk that somebody writes without being asked"
exec 9<>d/root.hds
flock --help 2>&1 | grep -q fcntl && held=1 || held=
python3 -c '
import fcntl, struct, sys, time, os
fcntl.fcntl(9, 37, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 400, 1, 0))' 2>/dev/null || skip "no python3 for a foreign lock"
for kind in linked full; do
	run_mustfail 37 ploop clone --$kind d x
	expect_line stderr 'in use'
done
exec 9>&-
unchanged

each "a linked clone in another file system"
other=/dev/shm
if [ -w $other ] && [ "$(stat -c %d $other)" != "$(stat -c %d .)" ]; then
	other=$(mktemp -d /dev/shm/ploop-test.XXXXXX)
	at_end "rm -rf '$other'"
	run_mustfail 1 ploop clone --linked d "$other/x"
	expect_line stderr 'is in another file system: only a full clone \(--full\) can leave it'
	[ -z "$(ls -A "$other")" ] || fail "left: $(ls -A "$other")"
	unchanged
	run_check ploop clone --full d "$other/x"
	run_check ploop check -f -r "$other/x"
fi

each "no space"
run_mustfail 1 bash -c "ulimit -f 4096; trap '' XFSZ; exec '$PLOOP' clone --full d x"
expect_line stderr 'root.hds: .*: File too large$'
[ ! -e x ] || fail "a part of a clone"
unchanged

each "no permission"
chmod 755 .
chmod -R a+rX d
mkdir -m 555 closed
run_mustfail 1 as_user "$PLOOP" clone --full d closed/x
expect_line stderr 'create closed/x: Permission denied$'
[ -z "$(ls -A closed)" ] || fail "left: $(ls -A closed)"
if [ "$(id -u)" = 0 ] && [ "$(cat /proc/sys/fs/protected_hardlinks 2>/dev/null)" = 1 ]; then
	mkdir -m 777 open
	cp -r d theirs
	run_check ploop clone --seal theirs
	chmod -R a+rX theirs
	run_mustfail 1 as_user "$PLOOP" clone --linked theirs open/x
	expect_line stderr 'belongs to somebody else, so it cannot be linked'
	[ -z "$(ls -A open)" ] || fail "left: $(ls -A open)"
fi
unchanged

each "images outside of the folder"
mkdir out
cp d/DiskDescriptor.xml out
cp d/root.hds away.hds
sed -i 's:root.hds:../away.hds:' out/DiskDescriptor.xml
for kind in linked full; do
	run_mustfail 23 ploop clone --$kind out x
	expect_line stderr 'lies outside the folder of the disk: name that file with --outside'
done
run_check ploop clone --full --outside away.hds out inside
expect_files inside DiskDescriptor.xml away.hds
run_check ploop check -r -f inside

each "a killed clone leaves a hidden folder, which the next one removes"
mkdir .again.part-01234567 .again.part-89abcdef .other.part-01234567
touch .again.part-01234567/root.hds
exec 8<.again.part-89abcdef
flock 8
run_check ploop clone --full d again
[ ! -e .again.part-01234567 ] || fail "an abandoned folder stays"
[ -e .again.part-89abcdef ] || fail "removed a folder that somebody fills"
[ -e .other.part-01234567 ] || fail "removed the folder of another clone"
