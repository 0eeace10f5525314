#!/bin/sh
# Runs in a container that has the root directory of this machine, and has each
# program log something. A program that cannot be run ends it.
set -eux
exec 2>/opt/log
mkdir -p /run/sshd /tmp/pg /var/lib/haproxy /var/lib/nginx
for user in sshd:9101 postfix:9102; do
  name=${user%:*} id=${user#*:}
  grep -q "^$name:" /etc/passwd || echo "$name:x:$id:$id::/run/sshd:/usr/sbin/nologin" >>/etc/passwd
  grep -q "^$name:" /etc/group || echo "$name:x:$id:" >>/etc/group
done
grep -q '^postdrop:' /etc/group || echo 'postdrop:x:9100:' >>/etc/group
. /opt/common.sh

cat >/tmp/nginx.conf <<C
user root; pid /tmp/nginx.pid; worker_processes 1;
error_log syslog:server=unix:/dev/log,facility=local3,tag=ngx notice;
events { }
http { access_log syslog:server=unix:/dev/log,facility=local4,severity=debug,tag=ngx_access;
  server { listen unix:/tmp/nginx; return 200 "x"; } }
C
nginx -c /tmp/nginx.conf -e /tmp/nginx.err
await /tmp/nginx
get /tmp/nginx
kill "$(cat /tmp/nginx.pid)"

serve_with_haproxy

ssh-keygen -q -t ed25519 -N '' -f /tmp/key
printf 'HostKey /tmp/key\nUsePAM no\nSyslogFacility AUTHPRIV\n' >/tmp/sshd.conf
printf 'GET / HTTP/1.0\r\n\r\n' | /usr/sbin/sshd -i -f /tmp/sshd.conf >/tmp/sshd.out || true

mkdir -p /etc/cron.d /var/spool/cron/crontabs
echo '@reboot root touch /tmp/cron' >/etc/cron.d/once
cron -f & cron=$!
await /tmp/cron
kill $cron

echo 'compatibility_level = 3.6' >/etc/postfix/main.cf
postlog -t postfix/test -p warn "from postlog" >/tmp/postlog.out 2>&1 || { cat /tmp/postlog.out >&2; exit 1; }
sendmail -C /no/such/directory root </dev/null >/tmp/sendmail.out 2>&1 || true

pg=$(echo /usr/lib/postgresql/*/bin)
chown nobody /tmp/pg
as="setpriv --reuid nobody --regid nogroup --clear-groups"
$as $pg/initdb -D /tmp/pg/data -U postgres --no-sync >/tmp/initdb.out
printf "log_destination = syslog\nsyslog_facility = LOCAL2\nlisten_addresses = ''\nunix_socket_directories = '/tmp/pg'\nfsync = off\n" >>/tmp/pg/data/postgresql.conf
$as $pg/pg_ctl -D /tmp/pg/data -l /tmp/pg/out -w start
$as $pg/psql -h /tmp/pg -U postgres -c 'select no_such_column' >/tmp/pg/psql 2>&1 || true
$as $pg/pg_ctl -D /tmp/pg/data -w -m fast stop

printf 'Defaults !pam_session, !use_pty, syslog=local1\nroot ALL=(ALL) ALL\n' >/etc/sudoers
sudo -n /bin/true

python3 - <<'C'
import logging, logging.handlers
h = logging.handlers.SysLogHandler(address="/dev/log", facility="local5")
h.ident = "pyapp:"
log = logging.getLogger("x")
log.addHandler(h)
log.warning("no blank after the colon")
C
perl -e 'use Sys::Syslog; openlog("perl-app", "ndelay,pid", "daemon"); syslog("err", "from Perl"); closelog();'
/usr/bin/logger --rfc3164 -u /dev/log -t tagged -i -p mail.crit 'from logger'
/opt/goclient dgram
client glibc 29 'from glibc' || /opt/client glibc 29 'from glibc'
touch /tmp/done
