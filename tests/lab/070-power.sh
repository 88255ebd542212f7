#!/bin/bash
# The power of the whole host fails under a disk that is written, snapshotted and merged: dm-log-writes notes in the lab what
# reached the device below the host's file system, and when. Played back up to flushes, marks and moments in between, each
# time the file system is mounted here and holds a disk that is sound, in one of the states that its operations allow, with
# all that its writer was promised; and so do its snapshots. CUTS=500 for more, a hundred of each run in the lab.
# timeout: 7200
. "$(dirname "$0")/../cli/lib.sh"
. "$SRC/tests/kill/writer.sh"

# ---- in the lab: OUT is a folder of the machine for what was promised when

# mark: what is promised and allowed at this place of the log is in $OUT/NUMBER.
mark()
{
	(
		flock 9
		number=$(($(cat number 2>/dev/null || echo 0) + 1))
		mkdir "$OUT/$number"
		cp promises allowed "$OUT/$number"
		dmsetup message power 0 mark $number
		echo $number >number
	) 9>lock || fail "no mark"
}

# operate TREE WORD...: the disk has the tree before, or this one, until the command has ended, and this one then.
operate()
{
	local before
	before=$(cat allowed)
	echo "$before|$1" >allowed
	mark
	cp promises "$OUT/before"
	run_check ploop "${@:2}"
	echo "$1" >allowed
	mark
}

# The disk is written for so long. Marks come between those of the operations, too.
go_on()
{
	local n
	for n in $(seq "$1"); do
		sleep 0.2
		mark
	done
}

in_guest()
{
	export DM_DISABLE_UDEV=1 # there is none: it makes its nodes itself
	run_check modprobe dm-log-writes
	run_check dmsetup create power --table "0 $(blockdev --getsz /dev/ubdb) log-writes /dev/ubdb /dev/ubdc"
	mkdir host
	run_check mount /dev/mapper/power host
	mkdir host/d
	run_check ploop -v0 init -s 32M -b "$CLUSTER" -t none host/d/root.hds
	run_check sync -f host
	echo '05\*' >allowed
	: >promises
	start_server host/d
	run_check ploop set --iopslimit 1000 host/d # leave some of the one processor to the operations
	start_writer
	mark
	go_on 2
	operate '0a a5\*' snapshot -u "$A" host/d
	cp "$OUT/before" "$OUT/before.A"
	go_on 1
	operate '0a ab b5\*' snapshot -u "$B" host/d
	cp "$OUT/before" "$OUT/before.B"
	go_on 1
	operate '0b b5\*' snapshot-delete -u "$A" host/d
	go_on 1
	operate '05\*' snapshot-merge host/d
	go_on 1
	kill -KILL $writer "$(cat pid)"
	wait $writer
	cp promises "$OUT/promises" # all that was ever submitted
	rm pid
	await umount host || fail "the file system is busy"
	run_check dmsetup remove power
}

if [ -n "${IN_LAB-}" ]; then
	in_guest
	exit
fi

# ---- here
need losetup
[ "$(id -u)" = 0 ] || skip "needs root"
SEED=${SEED:-$RANDOM}
RANDOM=$SEED
echo "SEED=$SEED"
REPLAY=$BUILD/tests/kill/replay
mkdir host
at_end "umount -l '$SCRATCH/host' 2>/dev/null"

# run_in_lab: a new log, of a disk with clusters of one of these sizes
run_in_lab()
{
	local sizes=(64 128 2048)
	rm -rf out log disk
	mkdir out
	truncate -s 192M disk
	truncate -s 4G log
	run_check mkfs.ext4 -qF disk
	cp --sparse=always disk now
	OUT=$SCRATCH/out CLUSTER=${sizes[RANDOM % 3]} run_mayfail "$SRC/tests/lab/in-kernel" -t 250 -d "$SCRATCH/disk" \
		-d "$SCRATCH/log" "$SRC/tests/lab/070-power.sh"
	[ "$RC" != 77 ] || skip "$(tail -n 1 stdout)"
	[ "$RC" = 0 ] || { cat stdout; fail "the lab"; }
	"$REPLAY" log | grep -v 'mark dm-log-writes-end' >entries || fail "the log cannot be read"
	echo "$(tail -n 1 entries | cut -d' ' -f1) entries, $(grep -c flush entries) flushes, $(grep -c mark entries) marks"
}

# choose N: entries to cut at, in order; half of them where all that was flushed is there, a quarter at marks
choose()
{
	local first
	first=$(grep -m1 mark entries | cut -d' ' -f1)
	{
		echo "$first"
		shuf --random-source=<(yes "$RANDOM") -n "$(($1 / 2))" entries
		grep mark entries | shuf --random-source=<(yes "$RANDOM") -n "$(($1 / 4))"
		shuf --random-source=<(yes "$RANDOM") -i "$first-$(tail -n 1 entries | cut -d' ' -f1)" -n "$(($1 / 4))"
	} | awk -v first="$first" '$1 >= first { print $1 }' | sort -nu
}

# verify FROM [OPTION...]: what the disk shows is what was promised until the copy FROM, or newer
verify()
{
	start_server "${@:2}" host/d
	run_check "$WRITER" flushed "$URI" out/promises "$1"
	stop_server
}

# What was promised later is not there: the check would see it.
verify_canary()
{
	start_server -r host/d
	run_mustfail 1 "$WRITER" flushed "$URI" out/promises out/promises
	stop_server
}

# is_let_go FILE: a mount namespace made meanwhile keeps what was mounted then, and the end of it is not written before.
is_let_go()
{
	[ -z "$(losetup -j "$1")" ]
}

# check_cut ENTRY
check_cut()
{
	local number
	number=$(awk -v at="$1" '$2 == "mark" && $1 <= at { n = $3 } END { print n }' entries)
	each "power fails before entry $1, after mark $number: $(cat "out/$number/allowed")"
	rm -f cut # another file: mount takes a loop device that still has the last one, with what it remembers of it
	cp --sparse=always now cut
	run_check mount -o loop cut host
	tree host/d
	[[ ${ploop_tree//t/} =~ ^($(cat "out/$number/allowed"))\ $ ]] || fail "the tree is $ploop_tree"
	[ $((RANDOM % 2)) = 0 ] || run_check ploop check -f -d host/d
	verify "out/$number/promises"
	[ "$number" -gt 3 ] || verify_canary
	rm -f host/d/DiskDescriptor.xml.settings # of the limit
	expect_tidy host/d
	[[ ! $ploop_tree =~ a ]] || verify out/before.A -r -u "$A"
	[[ ! $ploop_tree =~ b ]] || verify out/before.B -r -u "$B"
	await umount host 2>/dev/null || fail "the file system is busy" # a server's last breath
	await is_let_go cut || fail "the file system is mounted elsewhere, too"
	run_check e2fsck -fn cut
}

left=${CUTS:-8}
while [ "$left" -gt 0 ]; do
	run_in_lab
	at=0
	for entry in $(choose $((left < 100 ? left : 100))); do
		run_check "$REPLAY" log now $at "$entry"
		at=$entry
		check_cut "$entry"
	done
	left=$((left - 100))
done
