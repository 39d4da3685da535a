#!/bin/busybox sh
# First process of the guest: finds the image's root and hands over to the agent. It ends in a
# power-off or a panic (the VMM turns both into an exit), never in a wait.
B=/bin/busybox

fail() {
	$B echo "atoll init: $*" >/dev/kmsg 2>/dev/null
	$B echo "atoll init: $*"
	$B poweroff -f
	exit 1
}

$B mount -t devtmpfs -o nosuid,noexec devtmpfs /dev || fail "no devtmpfs"
$B mount -t proc -o nosuid,nodev,noexec proc /proc || fail "no proc"
$B mount -t sysfs -o nosuid,nodev,noexec sysfs /sys || fail "no sysfs"

while read -r module; do
	$B insmod "/lib/$module" || fail "cannot load the module $module"
done </lib/order

tries=0
until [ -b /dev/vda ]; do
	tries=$((tries + 1))
	[ "$tries" -le 100 ] || fail "no disk /dev/vda"
	$B sleep 0.05
done

$B mount -t erofs -o ro,nodev /dev/vda /base || fail "cannot mount the root file system"
$B mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /base/run || fail "cannot mount /run"
$B mkdir /base/run/atoll || fail "cannot make /run/atoll"
$B cp /atoll/agent.pyz /base/run/atoll/agent.pyz || fail "no agent beside the initramfs"
for directory in dev proc sys; do
	$B mount --move "/$directory" "/base/$directory" || fail "cannot move /$directory"
done
exec $B switch_root -c /dev/console /base /usr/bin/python3 -I -S -E -B /run/atoll/agent.pyz
