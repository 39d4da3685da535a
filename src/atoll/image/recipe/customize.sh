# The last step inside mmdebstrap, run by sh with the new root as $1: fetches the kernel, makes the
# user, removes what differs between two builds, and writes the image. Results go to /boot/atoll,
# which mmdebstrap copies out; nothing of /boot is in the image.
set -eu
root=$1
cd /  # the build's directory is private, and `find` fails where it cannot return to
out=$root/boot/atoll
export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1

# The kernel comes as a package of the archive, checked by apt like any other, but is not installed:
# that would bring initramfs-tools and its hooks into the guest.
fetch() {
	mkdir "$out/fetch"
	(cd "$out/fetch" && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q -o APT::Sandbox::User=root download "$1")
	mv "$out/fetch/"*.deb "$out/$2"
	rmdir "$out/fetch"
}
kernel=$(APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-cache depends linux-image-cloud-amd64 |
	sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
[ -n "$kernel" ] || { echo "linux-image-cloud-amd64 depends on no kernel" >&2; exit 1; }
fetch "$kernel" kernel.deb
fetch busybox-static busybox.deb
chroot "$root" dpkg-query -W -f '${Package}=${Version}\n' | LC_ALL=C sort >"$out/packages"
for deb in "$out/kernel.deb" "$out/busybox.deb"; do
	dpkg-deb -W --showformat '${Package}=${Version}\n' "$deb" >>"$out/packages"
done

chroot "$root" groupadd --gid 1000 app
chroot "$root" useradd --uid 1000 --gid 1000 --create-home --home-dir /home/app --shell /bin/bash app
rm -f "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/* "$root/etc/apt/apt.conf.d/00mmdebstrap" "$root/etc/apt/apt.conf.d/99mmdebstrap"
mv "$out/debian.sources" "$root/etc/apt/sources.list.d/debian.sources"

# What a build writes about itself: logs, caches, backups, dates, ids, and the host's names and keys.
find "$root/var/log" "$root/var/cache/apt" "$root/var/cache/ldconfig" "$root/var/lib/apt/lists" -type f -delete
rm -f "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/var/lib/dpkg/lock*
rm -f "$root/etc/passwd-" "$root/etc/group-" "$root/etc/shadow-" "$root/etc/gshadow-" "$root/etc/subuid-" "$root/etc/subgid-"
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
: >"$root/etc/machine-id"
day=$((SOURCE_DATE_EPOCH / 86400))
sed -i -E "s/^([^:]*:[^:]*:)[0-9]+:/\1$day:/" "$root/etc/shadow"

# Compiled Python is kept: importing from source costs seconds in an emulated guest. Compiled files
# are valid for one time stamp of their source, and the image gives every file the same.
python_trees="usr/lib/python3 usr/lib/python3.13"
find "$root/usr" "$root/etc" -depth -type d -name __pycache__ -exec rm -rf {} +
(cd "$root" && find $python_trees -type f -name '*.py' -exec touch -d "@$SOURCE_DATE_EPOCH" {} +)
chroot "$root" /usr/bin/python3 -m compileall -q -f -j 1 --invalidation-mode timestamp \
	/usr/lib/python3 /usr/lib/python3.13

# Every time stamp is the same, and not zero: zip, and so `python -m build`, refuses years before 1980.
set -- -T"$SOURCE_DATE_EPOCH" -U 00000000-0000-4000-8000-00617470006c -x-1 --quiet
for volatile in dev run tmp boot; do
	set -- "$@" --exclude-regex="^$volatile/.*"
done
# Packed through a second view of the tree, in which nothing is mounted: a mounted /proc has another
# owner when an ordinary user builds.
export root out
unshare --mount sh -ec '
	mount --bind "$root" "$root/mnt"
	chmod 555 "$root/mnt/proc" "$root/mnt/sys"
	mkfs.erofs "$@" "$out/rootfs.erofs" "$root/mnt"
' sh "$@"
