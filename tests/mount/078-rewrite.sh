#!/bin/bash
# What a dead server left undone is done once, and never over a later write (D2, D10): blocks that are written again and again
# while servers die show their last version at all times. KILLS=50 for more.
# timeout: 900
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/rewritten.sh"

mkdir a
run_check ploop init -s 64M -t none a/root.hds
run_check ploop mount --transport fuse a
is_state a kept true || fail "it has no keeper"
rewrite_under_kills a
run_check ploop umount a
run_check ploop check -f a
expect_nothing_left
