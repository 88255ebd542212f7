#!/bin/bash
# restore-descriptor writes the descriptor that init wrote, from the image alone.
. "$(dirname "$0")/../../lib.sh"

each "ploop images"
for words in '-v 1 -b 64' '-v 2 -b 2048' '-v 2 -b 131072'; do
	rm -rf d
	mkdir d
	# shellcheck disable=SC2086
	run_check ploop -v0 init -s 200M -t none $words d/root.hds
	mv d/DiskDescriptor.xml was
	run_check ploop restore-descriptor d d/root.hds
	expect_stdout "Storing $PWD/d/DiskDescriptor.xml"
	run_check diff was d/DiskDescriptor.xml
done

each "marked in use"
rm d/DiskDescriptor.xml
poke d/root.hds 44 596e6f74
run_check ploop restore-descriptor d d/root.hds
run_check diff was d/DiskDescriptor.xml

each "what exists stays"
echo precious >d/DiskDescriptor.xml
run_mustfail 17 ploop restore-descriptor d d/root.hds
[ "$(cat d/DiskDescriptor.xml)" = precious ] || fail "the descriptor was touched"

each "raw"
mkdir r
truncate -s $((3 * 32768)) r/root.hds
run_check ploop restore-descriptor -f raw r r/root.hds
expect_line r/DiskDescriptor.xml '<Blocksize>64</Blocksize>'
expect_line r/DiskDescriptor.xml '<Type>Plain</Type>'
rm r/DiskDescriptor.xml
truncate -s 3M r/root.hds
run_check ploop restore-descriptor -f raw r r/root.hds
expect_line r/DiskDescriptor.xml '<Blocksize>2048</Blocksize>'
rm r/DiskDescriptor.xml
run_check ploop restore-descriptor -f raw -b 128 r r/root.hds
expect_line r/DiskDescriptor.xml '<Blocksize>128</Blocksize>'
rm r/DiskDescriptor.xml
run_mustfail 38 ploop restore-descriptor -f raw -b 4096 r r/root.hds
truncate -s $((3 * 32768 + 512)) r/root.hds
run_mustfail 38 ploop restore-descriptor -f raw r r/root.hds
truncate -s 0 r/root.hds
run_mustfail 38 ploop restore-descriptor -f raw r r/root.hds
[ ! -e r/DiskDescriptor.xml ] || fail "a descriptor was left"

each "misuse"
mkdir e
run_mustfail 38 ploop restore-descriptor e
run_mustfail 38 ploop restore-descriptor -f preallocated e e/x
run_mustfail 4 ploop restore-descriptor e e/nowhere
run_mustfail 38 ploop restore-descriptor e r/root.hds
expect_line stderr 'is not in'
echo 'not an image' >e/x
run_mustfail 11 ploop restore-descriptor e e/x
expect_files e x
