#!/bin/bash
# move: a rename, or into another file system a copy of the whole bundle; clones go on; a disk in use stays.
. "$(dirname "$0")/../../lib.sh"
need qemu-io nbdcopy

content()
{
	rm -f "$2"
	nbdcopy -- [ "$PLOOP" serve -r "$1" ] "$2" || fail "read $1"
}

mkdir d
run_check ploop init -s 64M -t none d/root.hds
run_check qemu-io -f parallels -c 'write -P 0x11 1M 8M' d/root.hds
run_check ploop clone --linked d c
mkdir -p d/more/deep
echo text >d/more/deep/file
ln -s file d/more/deep/link
content d want.raw
content c want-c.raw

each "within the file system"
inode=$(stat -c %i d/root.hds)
run_check ploop move d there
expect_line stdout 'successfully moved to there$'
[ ! -e d ] || fail "the source is still there"
[ "$(stat -c %i there/root.hds)" = "$inode" ] || fail "it was copied"
content there got.raw
cmp want.raw got.raw || fail "content"
content c got.raw
cmp want-c.raw got.raw || fail "content of the clone"
mkdir d
run_check ploop move there d

each "refusals"
run_mustfail 38 ploop move d d/inside
run_mustfail 38 ploop move d c
expect_line stderr 'c exists already and is not empty'
run_mustfail 38 ploop move d d
run_mustfail 1 ploop move d nowhere/x
run_mustfail 38 ploop move d/root.hds x
"$PLOOP" serve --daemonize --pid-file "$PWD/pid" --socket "$PWD/s.sock" d || fail serve
run_mustfail 37 ploop move d x
expect_line stderr 'in use'
kill "$(cat pid)"
await is_gone pid || fail "the server does not end"
[ -e d/root.hds ] || fail "moved all the same"

each "an absolute name of an image inside becomes relative"
mkdir a
run_check ploop init -s 64M -t none a/root.hds
sed -i "s:<File>root.hds:<File>$PWD/a/root.hds:" a/DiskDescriptor.xml
run_check ploop move a b
expect_line b/DiskDescriptor.xml '<File>root.hds</File>'
run_check ploop check -r b
each "the relative name of one outside becomes absolute"
mv b/root.hds away.hds
sed -i 's:<File>root.hds:<File>../away.hds:' b/DiskDescriptor.xml
run_mustfail 23 ploop move b a
mkdir deep
run_check ploop move --outside away.hds b deep/a
expect_line deep/a/DiskDescriptor.xml "<File>$PWD/away.hds</File>"

each "into another file system and back"
[ -w /dev/shm ] && [ "$(stat -c %d /dev/shm)" != "$(stat -c %d .)" ] || skip "there is no other file system"
other=$(mktemp -d /dev/shm/ploop-test.XXXXXX)
at_end "rm -rf '$other'"
(cd d && find . -printf '%P %m %U %G %l %T@\n' | sort | grep -v '^ ') >before
run_check ploop move d "$other/d"
[ ! -e d ] || fail "the source is still there"
(cd "$other/d" && find . -printf '%P %m %U %G %l %T@\n' | sort | grep -v '^ ') >after
diff <(grep -v '/\|^more' before) <(grep -v '/\|^more' after) || fail "modes or times"
[ "$(cat "$other/d/more/deep/link")" = text ] || fail "other files"
[ "$(stat -c %h "$other/d/root.hds" c/root.hds | sort -u)" = 1 ] || fail "link counts"
content "$other/d" got.raw
cmp want.raw got.raw || fail "content"
content c got.raw
cmp want-c.raw got.raw || fail "content of the clone"
run_check ploop move "$other/d" d
content d got.raw
cmp want.raw got.raw || fail "content"
[ -z "$(ls -A "$other")" ] || fail "left there: $(ls -A "$other")"

each "no space there: all stays here"
run_mustfail 1 bash -c "ulimit -f 4096; trap '' XFSZ; exec '$PLOOP' move d '$other/d'"
[ -z "$(ls -A "$other")" ] || fail "left there: $(ls -A "$other")"
content d got.raw
cmp want.raw got.raw || fail "content"

each "what cannot be copied is told before"
mkfifo d/pipe
run_mustfail 11 ploop move d "$other/d"
expect_line stderr 'd/pipe is neither a file nor a folder'
[ -z "$(ls -A . "$other" | grep '^\.[^:]')" ] || fail "left: $(ls -A . "$other")"
