#!/bin/bash
# The lab itself: a command's output and exit code come back, a guest that dies or hangs is told from one that fails.
. "$(dirname "$0")/../lib.sh"
lab=$SRC/tests/lab/in-kernel

each "what a command prints, and how it ends; what it has"
run_mayfail "$lab" bash -c 'modprobe nbd && modprobe dm-mod && ls -d /sys/block/nbd0 && cd "$TMPDIR" && stat -f -c %T . && exit 7'
[ "$RC" != 77 ] || skip "$(tail -n 1 stdout)"
[ "$RC" = 7 ] || fail "exit code $RC, expected 7"
expect_stdout "/sys/block/nbd0
ext2/ext3"

each "a guest that dies"
run_mayfail "$lab" bash -c 'echo before; echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 60'
[ "$RC" = 125 ] || fail "exit code $RC, expected 125"
expect_line stdout '^before$'
expect_line stdout 'the guest died|the guest.s kernel complained'
expect_line stdout 'Kernel panic'

each "a guest that does not end"
run_mayfail "$lab" -t 10 bash -c 'echo before; sleep 600'
[ "$RC" = 125 ] || fail "exit code $RC, expected 125"
expect_line stdout 'no end after 10 s'
