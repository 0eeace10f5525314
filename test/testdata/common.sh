# What programs.sh and chroots.sh share.

# get SOCKET: a request to the HTTP server there.
get() { python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b"GET /x HTTP/1.0\r\n\r\n"); list(s.makefile("rb"))' "$1"; }

await() { until [ -e "$1" ]; do sleep 0.02; done; }

# serve_with_haproxy [SETTING]: haproxy, with that global setting, answers a request.
serve_with_haproxy() {
  cat >/tmp/haproxy.cfg <<C
global
  log /dev/log local0
  ${1-}
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
  get /tmp/haproxy
  kill "$(cat /tmp/haproxy.pid)"
}
