#!/bin/bash
# Clusters that are only partly written: info counts them, check and finish fill them, --no-wait leaves them and says so;
# and a disk with them holds what was written.
. "$(dirname "$0")/../lib.sh"

# first_writes PATTERN: 40 clusters of 64 KiB get 4 KiB each
first_writes()
{
	local i
	for i in $(seq 0 39); do
		echo "write -q -P $1 $((i * 256 + i % 16 * 4))k 4k"
	done | qemu-io -f raw "$URI" >stdout || fail "qemu-io"
	io flush
}

# expect_content PATTERN
expect_content()
{
	local i words=()
	for i in 0 1 17 39; do
		words+=("read -P $1 $((i * 256 + i % 16 * 4))k 4k" "read -P 1 $((i * 256 + i % 16 * 4 + 4))k 64k")
	done
	io "${words[@]}"
}

unfinished()
{
	"$PLOOP" info -s --json "$1" | jq -r '"\(.unfinished) \(.unfinished_clusters > 0)"'
}
expect_unfinished()
{
	[ "$(unfinished d)" = "$1 $1" ] || fail "info says: $(unfinished d), expected: $1"
}

top_of()
{
	"$PLOOP" snapshot-list --json "$1" | jq -r '.snapshots[] | select(.current) | .fname'
}

# leave PATTERN: stopped with unfinished clusters
leave()
{
	run_check ploop snapshot d
	start_server d --no-wait
	first_writes "$1"
	stop_server
	expect_unfinished true
}

new_disk d
write_disk d 'write -P 1 0 16M'

each "a stopped disk"
leave 2
run_check ploop info -s d
expect_line stdout '^unfinished:	[1-9][0-9]* clusters'
run_check ploop finish d
expect_line stdout 'finished'
expect_unfinished false
run_check qemu-img check -f parallels "$(top_of d)"
start_server d
expect_content 2
stop_server
run_check ploop finish d
expect_line stdout 'nothing unfinished'

each "check finishes it, unless it may not write"
leave 3
sha256sum d/* >before
run_mustfail 37 ploop check --ro d
expect_line stderr 'partly written'
run_mustfail 37 ploop check "$(top_of d)"
run_mustfail 37 ploop check -F -d "$(top_of d)"
run_check sha256sum -c before
run_check ploop check d
expect_line stdout 'partly written'
expect_line stdout '^Fixed$'
expect_unfinished false
start_server d
expect_content 3
stop_server

each "debug tells what the header hides"
leave 4
run_check ploop debug header "$(top_of d)"
expect_line stdout '^cluster: +0 sectors$'
expect_line stdout '^fenced: true cluster 128 sectors,'
run_check ploop debug header --json "$(top_of d)"
[ "$(jq .fenced_cluster_sectors stdout)" = 128 ] || fail "the true cluster size"
run_check ploop debug bat "$(top_of d)"
run_check ploop debug map --json d
[ "$(jq '[.extents[] | select(.depth == 1) | .length] | min' stdout)" = 4096 ] || fail "the map has no piece of 4 KiB"

each "a running disk, by its server"
start_server d
first_writes 5
run_check ploop finish d
expect_unfinished false
expect_content 5
stop_server
run_check qemu-img check -f parallels "$(top_of d)"

each "the server fills at its end"
run_check ploop snapshot d
start_server d
first_writes 6
stop_server
expect_unfinished false
run_check qemu-img check -f parallels "$(top_of d)"
start_server d
expect_content 6
stop_server

each "switched off, whole clusters are copied"
run_check ploop snapshot d
start_server d --no-wait --partial off
first_writes 8
expect_unfinished false
expect_content 8
stop_server
run_check qemu-img check -f parallels "$(top_of d)"
run_mustfail 2 ploop serve --socket s --partial maybe d

# expect_whole BUNDLE: what it shares with others is plain
expect_whole()
{
	local image shared=0
	for image in "$1"/*.hds*; do
		[ "$(stat -c %h "$image")" != 1 ] || continue
		run_check qemu-img check -U -f parallels "$image"
		shared=$((shared + 1))
	done
	[ $shared -gt 0 ] || fail "$1 shares nothing"
	[ "$(unfinished "$1")" = "false false" ] || fail "info of $1 says: $(unfinished "$1")"
}

each "a clone shares whole images only, of a stopped disk and of a running one"
leave 9
run_check ploop clone --linked d stopped
expect_whole stopped
start_server d
first_writes 10
run_check ploop clone --linked d running
expect_whole running
stop_server
for clone in stopped:9 running:10; do
	start_server ${clone%:*}
	expect_content ${clone#*:}
	stop_server
done

each "SIGUSR2 leaves it so"
run_check ploop snapshot d
start_server d
first_writes 7
kill -USR2 "$(cat pid)"
stop_server
expect_unfinished true

each "a list of images, with a copy of the unfinished one"
mapfile -t images < <("$PLOOP" snapshot-list -H -o fname d) # in a line, base first
mkdir copy
cp --sparse=always "${images[-1]}" copy/top.hds
images[-1]=copy/top.hds
run_mustfail 1 ploop finish copy/top.hds
run_check ploop finish "${images[@]}"
run_check qemu-img check -f parallels copy/top.hds
start_server d
expect_content 7
stop_server
run_check qemu-img compare -f parallels -F parallels copy/top.hds "$(top_of d)"
