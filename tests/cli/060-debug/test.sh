#!/bin/bash
# debug shows what is on disk, as text and as JSON, and agrees with QEMU's map.
. "$(dirname "$0")/../../lib.sh"
need qemu-io qemu-img python3

mkdir d
run_check ploop -v0 init -s 64M -t none -b 128 d/root.hds
run_check qemu-io -f parallels -c 'write -P 1 0 64k' -c 'write -P 2 1M 192k' -c 'write -P 3 63M 64k' d/root.hds
sha256sum d/root.hds >before

each header
run_check ploop debug header d/root.hds
expect_line stdout '^signature: +WithouFreSpacExt$'
expect_line stdout '^cluster: +128 sectors$'
expect_line stdout '^marker: +0 closed$'

each bat
run_check ploop debug bat --json d/root.hds
cp stdout bat.json
python3 - <<'END' || fail "the BAT is another"
import json
runs = json.load(open("bat.json"))["runs"]
got = {r["guest_cluster"] + i for r in runs for i in range(r["count"])}
assert got == {0, 16, 17, 18, 63 * 16}, got
assert all(r["note"] is None for r in runs), runs
END

each map
run_check ploop debug map --json d
cp stdout map.json
qemu-img map -f parallels --output=json d/root.hds >qemu.json || fail "qemu-img map"
python3 - <<'END' || fail "the maps differ"
import json
ours = json.load(open("map.json"))["extents"]
assert sum(e["length"] for e in ours) == 64 << 20
data = [(e["offset"], e["offset"] + e["length"]) for e in ours if not e["hole"]]
# QEMU splits where the file does; ours are joined.
theirs = []
for e in json.load(open("qemu.json")):
    if not e["data"]:
        continue
    if theirs and theirs[-1][1] == e["start"]:
        theirs[-1][1] = e["start"] + e["length"]
    else:
        theirs.append([e["start"], e["start"] + e["length"]])
assert data == [tuple(t) for t in theirs], (data, theirs)
END

each holes
truncate -s 10M sparse
dd if=/dev/zero of=sparse bs=4k seek=512 count=1 conv=notrunc status=none
run_check ploop debug holes sparse
expect_line stdout '^ +0 +2097152 hole$'
expect_line stdout '^ +2097152 +4096 data$'
run_check ploop debug holes --json sparse
cp stdout holes.json
python3 -c 'import json; assert sum(r["length"] for r in json.load(open("holes.json"))["ranges"]) == 10 << 20' ||
	fail "the ranges do not cover the file"

run_check sha256sum -c before

each misuse
run_mustfail 2 ploop debug
run_mustfail 2 ploop debug nonsense
run_mustfail 2 ploop debug bat
run_mustfail 2 ploop debug bat a b
run_mustfail 1 ploop debug bat nowhere
