#!/bin/sh
# Runs in a container that has the root directory of this machine. named and Postfix's smtpd
# enter their chroots, and log again after the receiver was replaced.
set -eux
exec 2>/opt/log
for user in postfix:9102 postdrop:9100; do
  name=${user%:*} id=${user#*:}
  grep -q "^$name:" /etc/passwd || echo "$name:x:$id:$id::/run:/usr/sbin/nologin" >>/etc/passwd
  grep -q "^$name:" /etc/group || echo "$name:x:$id:" >>/etc/group
done
. /opt/common.sh

mkdir -p /var/lib/named/etc
cat >/var/lib/named/etc/named.conf <<C
options { directory "/"; listen-on { none; }; listen-on-v6 { none; }; pid-file "/named.pid"; };
controls { };
logging { channel log { syslog daemon; severity info; }; category default { log; }; };
C
named -t /var/lib/named -c /etc/named.conf
await /var/lib/named/named.pid

spool=/var/spool/postfix
mkdir -p $spool/pid $spool/public $spool/private /var/lib/postfix
chown postfix /var/lib/postfix $spool/private $spool/public
cat >/etc/postfix/main.cf <<C
compatibility_level = 3.6
queue_directory = $spool
data_directory = /var/lib/postfix
daemon_directory = /usr/lib/postfix/sbin
inet_interfaces = loopback-only
local_recipient_maps =
alias_maps =
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_peername_lookup = no
C
echo 'smtp unix n - y - - smtpd' >/etc/postfix/master.cf
/usr/lib/postfix/sbin/master -c /etc/postfix >/tmp/master.out 2>&1 &
await $spool/public/smtp
quit() { python3 -c 'import socket
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect("'$spool'/public/smtp"); s.recv(999); s.sendall(b"QUIT\r\n"); s.recv(999)'; }
quit
touch /tmp/ready
await /tmp/replaced
kill -HUP "$(cat /var/lib/named/named.pid)"
quit
touch /tmp/done
exec sleep 1000
