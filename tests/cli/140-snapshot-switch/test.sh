#!/bin/bash
# snapshot-switch: back to a snapshot and on to another branch; unknown ids are 38 here, and a running disk is refused.
. "$(dirname "$0")/../lib.sh"

new_disk d
write_disk d 'write -P 1 0 1M'
run_check ploop snapshot -u "$A" d
write_disk d 'write -P 2 0 1M'
run_check ploop snapshot -u "$B" d
write_disk d 'write -P 3 0 1M'
cp -a d was

each "back: what was written since the last snapshot is lost"
run_check ploop snapshot-switch -u "$A" d
expect_line stdout '^ploop snapshot has been successfully switched$'
expect_tree d 0a ab 'a5*'
expect_tidy d
read_disk d "$TOP" 'read -P 1 0 1M'

each "on to the other branch and back again"
write_disk d 'write -P 4 0 1M'
run_check ploop snapshot -u "$C" d
run_check ploop snapshot-switch -u "$B" d
read_disk d "$TOP" 'read -P 2 0 1M'
run_check ploop snapshot-switch -u "$C" d
read_disk d "$TOP" 'read -P 4 0 1M'
expect_tree d 0a ab ac 'c5*'
expect_tidy d

each "the present state is kept"
rm -rf d
cp -a was d
run_check ploop snapshot-switch --keep-uuid "$C" -u "$A" d
expect_tree d 0a ab bc 'a5*'
expect_tidy d
read_disk d "$C" 'read -P 3 0 1M'
read_disk d "$TOP" 'read -P 1 0 1M'
run_check ploop snapshot-switch -D -u "$B" d
kept=$(sed -n 's/^The former state is snapshot //p' stdout)
run_check ploop snapshot-list -H -o uuid d
expect_line stdout "^$kept\$"

each "what is refused"
rm -rf d
cp -a was d
run_mustfail 38 ploop snapshot-switch -u "$UNKNOWN" d
run_mustfail 38 ploop snapshot-switch -u "$TOP" d
run_mustfail 38 ploop snapshot-switch -u zzz d
run_mustfail 38 ploop snapshot-switch d
run_mustfail 38 ploop snapshot-switch --keep-uuid "$B" -u "$A" d
run_mustfail 38 ploop snapshot-switch -u "$A"
run_mustfail 23 ploop snapshot-switch -u "$A" nowhere
run_check diff -r was d

each "a disk that runs"
start_server d
run_mustfail 38 ploop snapshot-switch -u "$A" d
expect_line stderr 'running'
stop_server
