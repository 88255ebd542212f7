#!/bin/bash
# What a dead server left undone is done once, and never over a later write (D2, D10), over nbd: blocks that are written again
# and again while servers die show their last version at all times, and the kernel gets no reply that it does not know.
# KILLS=50 for more.
# timeout: 900
LAB_SECONDS=800
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/rewritten.sh"

mkdir a
run_check ploop init -s 64M -t none a/root.hds
run_check ploop mount a
expect_line stdout '^ *Transport nbd '
dmesg -C
rewrite_under_kills a
dmesg >kernel.log
expect_no kernel.log 'Unexpected reply|Double reply|Other side returned error|I/O error'
run_check ploop umount a
run_check ploop check -f a
expect_no_devices
