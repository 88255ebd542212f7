#!/bin/bash
# clone --seal: a template keeps its content, for ever; a disk in use is not sealed.
. "$(dirname "$0")/../../lib.sh"
need nbdcopy qemu-io

mkdir tpl
run_check ploop init -s 64M -t none tpl/root.hds
run_check qemu-io -f parallels -c 'write -P 0x11 1M 1M' tpl/root.hds

each "not while it is served"
"$PLOOP" serve --daemonize --pid-file "$PWD/pid" --socket "$PWD/s.sock" tpl || fail serve
run_mustfail 37 ploop clone --seal tpl
expect_line stderr 'in use'
[ -n "$(find tpl/root.hds -perm -u+w)" ] || fail "sealed all the same"
kill "$(cat pid)"
await is_gone pid || fail "the server does not end"

each "sealed"
sum=$(md5sum <tpl/root.hds)
run_check ploop clone --seal tpl
expect_line stdout 'is a template now'
[ -z "$(find tpl -name '*.hds*' -perm /222)" ] || fail "an image can be written"
run_check ploop debug header tpl/root.hds
expect_no stdout '^marker:.*in use'

each "once more changes nothing"
run_check ploop clone --seal tpl
[ "$(md5sum <tpl/root.hds)" = "$sum" ] || fail "the image changed"

each "it is read, not written"
run_check nbdcopy -- [ "$PLOOP" serve -r tpl ] out.raw
run_mustfail 1 timeout 20 "$PLOOP" serve --socket x.sock tpl
run_mayfail ploop snapshot tpl
[ "$RC" != 0 ] || fail "a snapshot of a template"
[ "$(md5sum <tpl/root.hds)" = "$sum" ] || fail "the image changed"
expect_files tpl DiskDescriptor.xml root.hds

each "all its snapshots are sealed with it"
mkdir deep
run_check ploop init -s 64M -t none deep/root.hds
run_check ploop clone --linked deep one
rm -r one
run_check ploop clone --seal deep
[ -z "$(find deep -name '*.hds*' -perm /222)" ] || fail "an image can be written"
run_check ploop clone --linked deep two
run_check ploop check -r -f two
