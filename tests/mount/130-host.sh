#!/bin/bash
# Servers as part of a host: in a scope of their own where systemd runs, and all unmounted when the host goes down.
# alone

# In a mount namespace of its own, with a /run that looks as if systemd had started this machine.
if [ -z "${IN_NAMESPACE-}" ] && unshare -m true 2>/dev/null; then
	IN_NAMESPACE=1 exec unshare -m "$0"
fi
. "$(dirname "$0")/lib.sh"
[ -n "${IN_NAMESPACE-}" ] || skip "no mount namespace of its own"
[ -x /usr/bin/systemd-run ] || skip "systemd-run is not installed"
[ ! -e /run/systemd/system ] || skip "systemd runs here"
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system a
run_check ploop init -s 64M a/root.hds

each "systemd-run as it is, with nobody who listens"
run_check ploop mount a
expect_line stderr 'the server of /dev/mapper/ploop[0-9]* has no scope of its own and ends with its caller.s: .*'
run_check ploop umount a

each "what the server cannot do is told as ever, and tried once"
cat >systemd-run <<END
#!/bin/sh
echo "\$@" >>'$SCRATCH/asked'
while [ "\$1" != -- ]; do shift; done
shift
exec "\$@"
END
chmod +x systemd-run
mount --bind systemd-run /usr/bin/systemd-run
at_end 'umount -l /usr/bin/systemd-run 2>/dev/null'
cp -r a damaged
poke damaged/root.hds 28 ffffffff
run_mustfail 11 ploop mount damaged
[ "$(wc -l <asked)" = 1 ] || fail "tried $(wc -l <asked) times"
rm asked

each "a scope that nothing stops but the end of its processes"
run_check ploop mount -m mnt a
expect_no stderr scope
device=$(device_of a device)
grep -E "^--scope .*--property=DefaultDependencies=no --property=SendSIGKILL=no --unit=${device#/dev/mapper/}-[0-9]+ .* -- /.*/ploop-server " asked ||
	fail "asked for: $(cat asked)"
echo works >mnt/file || fail "it does not work"
run_check ploop umount a
run_check umount /usr/bin/systemd-run
rmdir /run/systemd/system

each "a host that goes down: all disks, also one that lies on another; what is in use is told and stays"
# In this namespace /run is our own, so all disks are ours.
mkdir b
run_check ploop init -s 16M b/root.hds
run_check ploop mount -d ploop1500 -m mnt a # tried before what lies on it
cp -r b mnt/b
mkdir inner
run_check ploop mount -m inner mnt/b
run_check ploop mount b
exec 5<"$(device_of b device)"
run_mustfail 46 ploop umount --all --timeout 1
expect_line stderr '^/dev/mapper/ploop[0-9]* stays: .* is in use by '
[ "$("$PLOOP" list --json | jq -r '.devices[].base')" = "$SCRATCH/b/root.hds" ] || fail "others stay, too"
exec 5<&-
run_check ploop umount --all
run_mustfail 38 ploop umount --all b
expect_nothing_left
expect_clean a
