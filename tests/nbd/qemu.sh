#!/bin/bash
# QEMU as a client: what it writes over NBD it reads back over NBD and, after the end, from the image itself.
. "$(dirname "$0")/server.sh"
need qemu-img qemu-io

each "qemu-io: every command"
make_image 64M
start_server
run_check qemu-io -f raw -c "write -P 0x11 0 1M" -c "write -P 0x22 5M 4k" -c "write -f -P 0x33 9M 64k" \
	-c "read -P 0x11 0 1M" -c "read -P 0x22 5M 4k" -c "read -P 0 6M 1M" -c "aio_write -P 0x44 20M 3M" -c "aio_flush" \
	-c "read -P 0x44 20M 3M" -c "discard 0 1M" -c "read -P 0 0 1M" -c "write -z 20M 1M" -c "read -P 0 20M 1M" \
	-c "write -z -u 21M 1M" -c "read -P 0 21M 1M" -c "flush" "$URI"
expect_no stdout '[Ff]ailed|error'
run_check qemu-img map --output=json -f raw "$URI"
expect_line stdout '"data": true'
expect_line stdout '"data": false'
stop_server
check_image
run_check qemu-io -f parallels -r -c "read -P 0 0 1M" -c "read -P 0x22 5M 4k" -c "read -P 0x33 9M 64k" \
	-c "read -P 0 20M 2M" -c "read -P 0x44 22M 1M" disk.hds
expect_no stdout '[Ff]ailed|error'

each "qemu-img: a random file there and back"
head -c 20M /dev/urandom >in.raw
truncate -s 44M in.raw
head -c 20M /dev/urandom >>in.raw
start_server
run_check qemu-img convert -n -f raw -O raw in.raw "$URI"
run_check qemu-img compare -f raw -F raw in.raw "$URI"
stop_server
check_image
run_check qemu-img compare -f raw -F parallels in.raw disk.hds
