#compdef devlogd
# Made by "make completions" from what --help says.
_devlogd() {
    _arguments \
        '*--listen=[receive from a socket at PATH; other sockets are taken from LISTEN_FDS]:PATH:_files' \
        '--type=[type of the sockets of the --listen before it, back to one that has a type, else of those behind it]:TYPE:(dgram stream)' \
        '--kernel[read the kernel'\''s log from /dev/kmsg, from now on]' \
        '*--rule=['\''SELECTOR ACTION'\'' as in devlogd.conf(5), such as '\''*.info;mail.none -/var/log/messages'\'']:RULE: ' \
        '--config=[read rules from FILE]:FILE:_files' \
        '--name=[name to write instead of this machine'\''s host name]:NAME: ' \
        '--line-host=[name to write in lines instead of --name'\''s]:NAME: ' \
        '*--host-name=[leave this name out of messages too, where a program writes it as its host'\''s]:NAME: ' \
        '--rate=[take N messages at once from a socket, and not more than N a second or minute in the long run]:N[/s|/m]: ' \
        '--overflow=[what to do with more\: block, so that senders wait, or drop\: count them]:HOW: ' \
        '--compress-repeats=:write "last message repeated N times" for repeats: ' \
        '--metrics-file=[ write the account to this file, for Prometheus]:PATH:_files' \
        '--logs-dir=[follow no link below DIR, where containers may have put one]:DIR:_files -/' \
        '--ready-fd=[write a newline to descriptor N when it is ready, and close it]:N: ' \
        '--sandbox=[give up the rights that it needs no more once all is open]:WHEN:(auto on off)' \
        '--user=[ run as that user once the sockets and outputs are open]:NAME|UID[:GROUP|GID]: ' \
        '*--notice=[write TEXT as a warning of its own when it starts]:TEXT: ' \
        '--check-config[only say whether the rules are right]' \
        '--exit-when-alone[end when process 1 waits for this process only]' \
        '--await-init[with --exit-when-alone\: process 1 has yet to execute its program]' \
        '--command-needs=[ what COMMAND needs]:RIGHTS:(names host ids mounts)' \
        '--version' \
        '--help'
}
_devlogd "$@"
