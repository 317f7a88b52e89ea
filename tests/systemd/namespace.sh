# The machine as the tested user manager sees it.  manager.py runs this as root in mount and cgroup namespaces of its
# own, as: sh namespace.sh UID HOME MOUNTED_HOME [CLOSED PART]...   It ends by becoming the manager.
set -eu
umask 022
uid=$1 home=$2 mounted=$3
shift 3

# Outside a cgroup of its own a manager moves every process of the machine into its init.scope.
grep -q '^0::/$' /proc/self/cgroup || { echo "namespace.sh: not in a cgroup namespace" >&2; exit 1; }

mount --make-rprivate /
# /run is a mount on every real system; where it is none, sandboxed services get an empty one.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system /run/systemd/unit-root /run/systemd/journald.conf.d /run/systemd/keep /run/log /run/user
mount -t cgroup2 cgroup2 /sys/fs/cgroup

# A user without privileges.
cp /etc/passwd /run/systemd/passwd
echo "agent:x:$uid:$uid::$mounted:/bin/sh" >>/run/systemd/passwd
mount --bind /run/systemd/passwd /etc/passwd
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run/user
mkdir -m 700 "/run/user/$uid"
chown "$uid:$uid" "/run/user/$uid"

# Its home: not below /tmp, which PrivateTmp= hides.
mount -t tmpfs -o mode=755 tmpfs "$(dirname "$mounted")"
mkdir -m 700 "$mounted"
mount --bind "$home" "$mounted"

# What the user needs may lie in a directory it cannot pass through, such as root's home: each pair is such a directory
# and the part of it to show.
while [ $# -gt 1 ]; do
    mkdir -p "/run/systemd/keep$2"
    mount --bind "$2" "/run/systemd/keep$2"
    closed="${closed:-} $1"
    shift 2
done
for directory in ${closed:-}; do
    mountpoint -q "$directory" || mount --rbind "/run/systemd/keep$directory" "$directory"
done

# A journal of its own, for what the daemon says.
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nForwardToSyslog=no\nForwardToWall=no\n' \
    >/run/systemd/journald.conf.d/test.conf
/lib/systemd/systemd-journald &
while [ ! -S /run/systemd/journal/stdout ]; do sleep 0.02; done

exec setpriv --reuid="$uid" --regid="$uid" --clear-groups \
    env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$mounted" XDG_RUNTIME_DIR="/run/user/$uid" LANG=C.UTF-8 \
    /lib/systemd/systemd --user
