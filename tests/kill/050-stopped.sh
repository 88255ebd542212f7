#!/bin/bash
# The same with a stopped disk, where the command is all that can be killed. ROUNDS=200 for more.
# timeout: 7200
. "$(dirname "$0")/bundle.sh"

make_start
kill_rounds stopped snapshot merge-top merge-middle merge-all switch switch-keep clone-linked clone-full
