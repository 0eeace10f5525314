#!/bin/sh
# Runs in a container that has the root directory of this machine, and has haproxy and
# internal-sftp log from their chroots. A program that cannot be run ends it.
set -eux
exec 2>/opt/log
grep -q '^sshd:' /etc/passwd || echo "sshd:x:9101:9101::/run/sshd:/usr/sbin/nologin" >>/etc/passwd
mkdir -p /run/sshd /root
await() { until [ -e "$1" ]; do sleep 0.02; done; }

cat >/tmp/haproxy.cfg <<C
global
  log /dev/log local0
  chroot /var/lib/haproxy
defaults
  log global
  mode http
  option httplog
  timeout client 9s
  timeout connect 9s
  timeout server 9s
frontend fe
  bind unix@/tmp/haproxy
  http-request return status 200
C
haproxy -D -p /tmp/haproxy.pid -f /tmp/haproxy.cfg
await /tmp/haproxy
python3 -c 'import socket
s = socket.socket(socket.AF_UNIX); s.connect("/tmp/haproxy"); s.sendall(b"GET /x HTTP/1.0\r\n\r\n"); list(s.makefile("rb"))'
kill "$(cat /tmp/haproxy.pid)"

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
