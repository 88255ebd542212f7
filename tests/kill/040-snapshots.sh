#!/bin/bash
# Snapshots and clones of a disk that is being written, while its server, the command or both are killed: the next command
# repairs what is left, and nothing is lost. ROUNDS=200 for more.
# timeout: 7200
. "$(dirname "$0")/bundle.sh"

make_start
kill_rounds running snapshot delete merge-top merge-middle merge-all clone-linked clone-full
