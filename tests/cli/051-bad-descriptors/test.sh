#!/bin/bash
# Hostile descriptors: never a file outside the folder, never a hang; exit code 23 and a sentence.
. "$(dirname "$0")/../../lib.sh"

TOP='{5fbaabe3-6958-40ff-92a7-860e329aab41}'
NONE='{00000000-0000-0000-0000-000000000000}'
A='{11111111-1111-4111-8111-111111111111}'

mkdir d outside
run_check ploop -v0 init -s 10M -t none d/root.hds
cp d/DiskDescriptor.xml good.xml
cp d/root.hds outside/secret.hds

# refused: every command that reads a descriptor says no
refused()
{
	local command
	for command in "info -s" "info -d" "check" "info"; do
		# shellcheck disable=SC2086 # two words
		run_mustfail 23 timeout 20 "$PLOOP" $command d
		expect_line stderr '^ploop: .'
	done
	run_mustfail 1 timeout 20 "$PLOOP" serve --socket "$PWD/sock" d
	run_mustfail 1 timeout 20 "$PLOOP" debug map d
}
# edit SED...: the good descriptor, changed
edit()
{
	sed "$@" good.xml >d/DiskDescriptor.xml
	cmp -s good.xml d/DiskDescriptor.xml && fail "the edit did nothing: $*"
}

each "paths"
edit "s|root.hds|$PWD/outside/secret.hds|"
run_mayfail ploop check d
[ "$RC" != 0 ] || fail "an absolute path was opened"
run_check ploop info -s --outside "$PWD/outside/secret.hds" d
edit 's|root.hds|../outside/secret.hds|'
run_mayfail ploop info -s d
[ "$RC" != 0 ] || fail "a path with .. was opened"
ln -s ../outside/secret.hds d/link.hds
edit 's|root.hds|link.hds|'
run_mayfail ploop info -s d
[ "$RC" != 0 ] || fail "a symbolic link was followed"
rm d/link.hds
ln -s ../outside d/sub
edit 's|root.hds|sub/secret.hds|'
run_mayfail ploop info -s d
[ "$RC" != 0 ] || fail "a symbolic link was followed"
edit 's|root.hds|nowhere.hds|'
run_mayfail ploop info -s d
[ "$RC" != 0 ] || fail "a file that is not there was opened"

each "not XML"
: >d/DiskDescriptor.xml
refused
head -c 4096 /dev/urandom >d/DiskDescriptor.xml
refused
head -c 300 good.xml >d/DiskDescriptor.xml
refused

each "entities"
edit '1s|$|<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>|; s|root.hds|\&e;|'
refused

each "GUIDs in a circle"
edit "s|<ParentGUID>$NONE|<ParentGUID>$TOP|"
refused
edit "s|</Image>|</Image><Image><GUID>$A</GUID><Type>Compressed</Type><File>a.hds</File></Image>|
	s|</Shot>|</Shot><Shot><GUID>$A</GUID><ParentGUID>$TOP</ParentGUID></Shot>|
	s|<ParentGUID>$NONE|<ParentGUID>$A|"
refused

each "numbers"
edit 's|<Blocksize>2048|<Blocksize>2047|'
refused
edit 's|<Blocksize>2048|<Blocksize>99999999999999999999|'
refused
edit 's|<Disk_size>20480|<Disk_size>ten|'
refused

each "a snapshot that is not there"
cp good.xml d/DiskDescriptor.xml
run_mustfail 43 ploop check -u "$A" d
run_mustfail 38 ploop check -u 1111 d
expect_line stderr 'Incorrect uuid'

each "the image is the wrong one"
cp good.xml d/DiskDescriptor.xml
edit 's|<Blocksize>2048|<Blocksize>1024|'
run_mustfail 38 ploop check d
