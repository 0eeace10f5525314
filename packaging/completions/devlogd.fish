# fish completion for devlogd
# Made by "make completions" from what --help says.
complete -c devlogd -f
complete -c devlogd -l listen -rF -d 'receive from a socket at PATH; other sockets are taken from LISTEN_FDS'
complete -c devlogd -l type -xa 'dgram stream' -d 'type of the sockets of the --listen before it, back to one that has a type, else of those behind it'
complete -c devlogd -l kernel -d 'read the kernel\'s log from /dev/kmsg, from now on'
complete -c devlogd -l rule -x -d '\'SELECTOR ACTION\' as in devlogd.conf(5), such as \'*.info;mail.none -/var/log/messages\''
complete -c devlogd -l config -rF -d 'read rules from FILE'
complete -c devlogd -l name -x -d 'name to write instead of this machine\'s host name'
complete -c devlogd -l line-host -x -d 'name to write in lines instead of --name\'s'
complete -c devlogd -l host-name -x -d 'leave this name out of messages too, where a program writes it as its host\'s'
complete -c devlogd -l rate -x -d 'take N messages at once from a socket, and not more than N a second or minute in the long run'
complete -c devlogd -l overflow -x -d 'what to do with more: block, so that senders wait, or drop: count them'
complete -c devlogd -l compress-repeats -x
complete -c devlogd -l metrics-file -rF -d ' write the account to this file, for Prometheus'
complete -c devlogd -l logs-dir -xa '(__fish_complete_directories)' -d 'follow no link below DIR, where containers may have put one'
complete -c devlogd -l ready-fd -x -d 'write a newline to descriptor N when it is ready, and close it'
complete -c devlogd -l sandbox -xa 'auto on off' -d 'give up the rights that it needs no more once all is open'
complete -c devlogd -l user -x -d ' run as that user once the sockets and outputs are open'
complete -c devlogd -l notice -x -d 'write TEXT as a warning of its own when it starts'
complete -c devlogd -l check-config -d 'only say whether the rules are right'
complete -c devlogd -l exit-when-alone -d 'end when process 1 waits for this process only'
complete -c devlogd -l await-init -d 'with --exit-when-alone: process 1 has yet to execute its program'
complete -c devlogd -l command-needs -xa 'names host ids mounts' -d ' what COMMAND needs'
complete -c devlogd -l version
complete -c devlogd -l help
