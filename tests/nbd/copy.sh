#!/bin/bash
# libnbd's tools as clients: nbdinfo tells the truth about an export, nbdcopy brings random bytes there and back.
. "$(dirname "$0")/server.sh"
need nbdinfo nbdcopy

make_image 256M
each "nbdinfo"
start_server --description "a disk"
run_check nbdinfo --json "$URI"
for fact in '"export-size": 268435456' '"block_size_minimum": 512' '"block_size_preferred": 4096' '"block_size_maximum": 33554432' \
	'"can_multi_conn": true' '"can_fast_zero": true' '"can_df": true' '"can_fua": true' '"is_read_only": false' \
	'"description": "a disk"' 'base:allocation' 'qemu:allocation-depth'; do
	expect_line stdout "$fact"
done
run_check nbdinfo --list "$URI"
run_check nbdinfo --map "$URI"
expect_line stdout '^ *0 +268435456 +3 +hole,zero$'

each "nbdcopy there and back"
head -c 40M /dev/urandom >in.raw
truncate -s 128M in.raw
head -c 7M /dev/urandom >>in.raw
truncate -s 256M in.raw
run_check nbdcopy --flush in.raw "$URI"
run_check nbdcopy "$URI" out.raw
run_check cmp in.raw out.raw
run_check nbdinfo --map=qemu:allocation-depth "$URI"
expect_line stdout '^ *0 +41943040 +1 +local$'
expect_line stdout ' +0 +absent$'
run_check nbdcopy --synchronous --request-size=4096 "$URI" null:
run_check nbdcopy --request-size=33554432 --requests=4 "$URI" null:
stop_server
check_image

each "socket activation"
run_check nbdcopy -- [ "$SERVER" "${IMAGE[@]}" --read-only ] again.raw
run_check cmp in.raw again.raw
run_check nbdcopy in.raw -- [ "$SERVER" "${IMAGE[@]}" ]
check_image

each "read-only"
start_server --read-only
run_check nbdinfo --is read-only "$URI"
run_mustfail 1 nbdcopy in.raw "$URI"
stop_server
