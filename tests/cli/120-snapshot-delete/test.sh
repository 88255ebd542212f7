#!/bin/bash
# snapshot-delete: one that nothing stands on goes, one child is merged, several are waited for; codes 43 and 38.
. "$(dirname "$0")/../lib.sh"

# d: A (1 in the first MiB) <- B (2 in the second) <- top (3 in the third)
new_disk d
write_disk d 'write -P 1 0 1M' 'write -P 1 8M 1M'
run_check ploop snapshot -u "$A" d
write_disk d 'write -P 2 1M 1M' 'write -P 2 8M 512k'
run_check ploop snapshot -u "$B" d
write_disk d 'write -P 3 2M 1M'
present=('read -P 1 0 1M' 'read -P 2 1M 1M' 'read -P 3 2M 1M' 'read -P 2 8M 512k' 'read -P 1 8704k 512k')

each "what is refused"
cp -a d was
run_mustfail 43 ploop snapshot-delete -u "$UNKNOWN" d
run_mustfail 38 ploop snapshot-delete -u nonsense d
run_mustfail 38 ploop snapshot-delete d
expect_line stderr 'which snapshot'
run_mustfail 38 ploop snapshot-delete -u "$A"
run_mustfail 23 ploop snapshot-delete -u "$A" nowhere
run_check diff -r was d

each "with one child: merged, the base's name stays"
run_check ploop snapshot-delete -u "$A" d
expect_line stdout '^ploop snapshot merged$'
expect_tree d 0b 'b5*'
[ -e d/root.hds ] || fail "root.hds is gone"
expect_tidy d
read_disk d "$TOP" "${present[@]}"
read_disk d "$B" 'read -P 2 1M 1M' 'read -P 0 2M 1M'

each "the present state of a stopped disk: what was written since is dropped"
run_check ploop snapshot-delete -u "$TOP" d
expect_line stdout "^ploop snapshot .* has been successfully deleted$"
expect_tree d '05*'
expect_tidy d
read_disk d "$TOP" 'read -P 2 1M 1M' 'read -P 0 2M 1M' 'read -P 1 8704k 512k'

each "the only image"
run_mustfail 38 ploop snapshot-delete -u "$TOP" d
run_mustfail 43 ploop snapshot-delete -u "$A" d

each "several children: later"
rm -rf d
cp -a was d
run_check ploop snapshot-switch --keep-uuid "$C" -u "$A" d
expect_tree d 0a ab bc 'a5*'
run_check ploop snapshot-delete -u "$A" d
expect_line stderr 'several children'
expect_tree d 0at ab bc 'a5*'
each "a leaf goes, then the other is merged with the one that waited"
run_check ploop snapshot-delete -u "$C" d
expect_line stdout "^ploop snapshot $C has been successfully deleted$"
run_check ploop snapshot-delete -u "$B" d
expect_line stdout "^ploop snapshot $B has been successfully deleted$"
expect_tree d '05*'
expect_tidy d
read_disk d "$TOP" 'read -P 1 0 1M' 'read -P 0 1M 2M'

each "an image that is missing is not a snapshot that is missing"
rm -rf d
cp -a was d
mv d/root.hds gone
run_mustfail 4 ploop snapshot-delete -u "$A" d
