#!/bin/bash
# clone --full: an independent disk of the same content; holes stay holes, preallocated stays preallocated.
# timeout: 300
. "$(dirname "$0")/../../lib.sh"
need qemu-io qemu-img nbdcopy cmp

content()
{
	rm -f "$2"
	nbdcopy -- [ "$PLOOP" serve -r "$1" ] "$2" || fail "read $1"
}
write()
{
	run_check qemu-io -f parallels -c "write -P $3 $2 64k" "$1"
}

for format in expanded preallocated raw; do
	each "$format"
	mkdir a
	run_check ploop init -s 64M -t none -f $format -S a/root.hds
	if [ $format = raw ]; then
		run_check qemu-io -f raw -c 'write -P 0x11 3M 1M' a/root.hds
	else
		write a/root.hds 3M 0x11
	fi
	content a want.raw
	run_check ploop clone --full a b
	[ "$(stat -c %h a/root.hds b/root.hds | sort -u)" = 1 ] || fail "shares an image"
	[ "$(stat -c %s a/root.hds)" = "$(stat -c %s b/root.hds)" ] || fail "another length"
	at_most=$(($(stat -c %b a/root.hds) + 256))
	[ "$(stat -c %b b/root.hds)" -le $at_most ] || fail "takes more space than its source"
	[ $format != preallocated ] || [ "$(stat -c %b b/root.hds)" -ge $((64 * 2048)) ] || fail "not preallocated any more"
	run_check ploop check -f -r b
	content b got.raw
	cmp want.raw got.raw || fail "reads differently"
	diff a/DiskDescriptor.xml b/DiskDescriptor.xml || fail "another descriptor"
	rm -r a b
done

each "a chain, up to its top and up to a snapshot"
mkdir a
run_check ploop init -s 64M -t none a/root.hds
write a/root.hds 1M 0x21
content a first.raw
run_check ploop clone --linked a unused # gives the disk a snapshot
guid=$(grep -o '{[0-9a-f-]*}' stdout)
rm -r unused
write "a/$(sed -n 's:.*<File>\(.*\)</File>.*:\1:p' a/DiskDescriptor.xml | tail -1)" 2M 0x22
content a second.raw
run_check ploop clone --full a top
run_check ploop clone --full -u "$guid" a old
content top got.raw
cmp second.raw got.raw || fail "the top reads differently"
content old got.raw
cmp first.raw got.raw || fail "the snapshot reads differently"
[ "$(grep -c '<Shot>' top/DiskDescriptor.xml)" = 2 ] || fail "the chain"
[ "$(grep -c '<Shot>' old/DiskDescriptor.xml)" = 1 ] || fail "the chain up to the snapshot"
expect_files old DiskDescriptor.xml root.hds
for image in top/root.hds* old/root.hds; do
	run_check qemu-img check -f parallels "$image"
done

each "of a template: a disk that can be written"
run_check ploop clone --seal old
run_check ploop clone --full old free
[ -n "$(find free/root.hds -perm -u+w)" ] || fail "the copy is sealed too"
write free/root.hds 5M 0x33
content old got.raw
cmp first.raw got.raw || fail "the template changed"

each "a disk whose server was killed is copied with what that wrote, and the copy is clean"
mkdir dead
run_check ploop init -s 64M -t none dead/root.hds
"$PLOOP" serve --daemonize --pid-file "$PWD/pid" --socket "$PWD/s.sock" dead || fail serve
run_check qemu-io -f raw -c 'write -P 0x55 7M 1M' "nbd+unix:///?socket=$PWD/s.sock"
kill -KILL "$(cat pid)"
run_check ploop clone --full dead risen
run_check ploop debug header risen/root.hds
expect_no stdout '^marker:.*in use'
run_check qemu-io -f parallels -r -c 'read -P 0x55 7M 1M' risen/root.hds

each "the next server of that disk takes the place of the dead one, and leaves nothing behind"
rm pid
"$PLOOP" serve --daemonize --pid-file "$PWD/pid" --socket "$PWD/s.sock" dead || fail serve
kill "$(cat pid)"
await is_gone pid || fail "the server does not end"
