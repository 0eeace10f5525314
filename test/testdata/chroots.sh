#!/bin/sh
# Runs in a container that has the root directory of this machine, and has haproxy and
# internal-sftp log from their chroots. A program that cannot be run ends it.
set -eux
exec 2>/opt/log
grep -q '^sshd:' /etc/passwd || echo "sshd:x:9101:9101::/run/sshd:/usr/sbin/nologin" >>/etc/passwd
mkdir -p /run/sshd /root
. /opt/common.sh

serve_with_haproxy 'chroot /var/lib/haproxy'

mkdir -p /srv/sftp
echo text >/srv/sftp/file
ssh-keygen -q -t ed25519 -N '' -f /tmp/key
cp /tmp/key.pub /tmp/allowed
cat >/tmp/sshd.conf <<C
HostKey /tmp/key
UsePAM no
StrictModes no
PermitRootLogin yes
AuthorizedKeysFile /tmp/allowed
Subsystem sftp internal-sftp -l INFO -f LOCAL1
ChrootDirectory /srv/sftp
ForceCommand internal-sftp -l INFO -f LOCAL1
C
echo 'get /file /tmp/got' >/tmp/batch
sftp -q -b /tmp/batch -o IdentityFile=/tmp/key -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no \
  -o ProxyCommand='/usr/sbin/sshd -i -f /tmp/sshd.conf' root@chroot >/tmp/sftp.out
grep -q text /tmp/got
touch /tmp/done
