#compdef devlog-hook
# Made by "make completions" from what --help says.
_devlog_hook() {
    local curcontext=$curcontext state state_descr line
    typeset -A opt_args
    _arguments -C \
        '--help[show help]' \
        '-h[show help]' \
        '--version[print the version]' \
        '-v[print the version]' \
        '1: :->command' '*:: :->options'
    case $state in
    command)
      local -a commands=(
        'check:say what /dev/log is, whether syslog() works, and what repair would do'
        'repair:make /dev/log lead to a private socket, with a receiver behind it'
        'undo:put back what repair changed'
        'oci:run as an OCI hook\: the container'\''s state is on standard input'
        'config:print the file by which a runtime or an init system comes to use devlog'
      )
      _describe command commands
      ;;
    options)
      case $words[1] in
      check)
        _arguments \
        '--pid=[the container in which process N runs, from the host]:N:_pids' \
        '--root=[the container with the root directory DIR, from the host]:DIR:_files -/' \
        '--host[the host itself]' \
        '--strategy=[HOW to repair]:HOW:(auto adopt symlink bind)' \
        '--socket=[the private socket'\''s PATH in the container]:PATH:_files' \
        '*--adopt=[a PATH to which a shared /dev/log may lead, beside the usual ones]:PATH:_files' \
        '--force[rename a /dev/log that is a directory, a regular file or a device to /dev/log.devlog-old]' \
        '--json[write JSON, for programs]' \
        '--help[show help]' \
        '-h[show help]'
        ;;
      repair)
        _arguments \
        '--pid=[the container in which process N runs, from the host]:N:_pids' \
        '--root=[the container with the root directory DIR, from the host]:DIR:_files -/' \
        '--host[the host itself]' \
        '--strategy=[HOW to repair]:HOW:(auto adopt symlink bind)' \
        '--socket=[the private socket'\''s PATH in the container]:PATH:_files' \
        '*--adopt=[a PATH to which a shared /dev/log may lead, beside the usual ones]:PATH:_files' \
        '--force[rename a /dev/log that is a directory, a regular file or a device to /dev/log.devlog-old]' \
        '--receiver=[the receiver'\''s PATH, or none where a daemon of the container'\''s own listens]:PATH:_files' \
        '--no-heal[repair once; leave nobody who repairs again when /dev/log is replaced]' \
        '--supervise=[WHO restarts a killed receiver on the host\: none]:WHO: ' \
        '--name=[the container'\''s NAME in messages and paths]:NAME: ' \
        '*--rule=[a RULE for the receiver, SELECTOR ACTION]:RULE: ' \
        '--config=[a FILE of rules for the receiver]:FILE:_files' \
        '--rate=[the receiver takes N\[/s|/m\] messages at once, and not more a second or minute in the long run]:N[/s|/m]: ' \
        '--overflow=[HOW it treats more\: block, so that senders wait, or drop]:HOW: ' \
        '--compress-repeats[it writes "last message repeated N times" for repeats]' \
        '--metrics-file=[it writes its account to the file PATH, in which {name} is the container'\''s name, for Prometheus]:PATH:_files' \
        '--sandbox=[WHEN it gives up the rights that it needs no more]:WHEN:(auto on off)' \
        '--user=[it runs as the user NAME|UID\[\:GROUP|GID\]; with --no-heal only]:NAME|UID[:GROUP|GID]: ' \
        '--dry-run[say what would be done, and do nothing]' \
        '--keep[with --host]' \
        '--all[with --host\: repair every container that shares its /dev too]' \
        '--help[show help]' \
        '-h[show help]'
        ;;
      undo)
        _arguments \
        '--pid=[the container in which process N runs, from the host]:N:_pids' \
        '--root=[the container with the root directory DIR, from the host]:DIR:_files -/' \
        '--host[the host itself]' \
        '--socket=[the private socket'\''s PATH in the container]:PATH:_files' \
        '--help[show help]' \
        '-h[show help]'
        ;;
      oci)
        _arguments \
        '--stage=[the hook'\''s STAGE]:STAGE:(prestart createRuntime createContainer startContainer poststart poststop)' \
        '--annotations=[HOW much the container'\''s annotations may say\: none, limited, or all]:HOW: ' \
        '--on-error=[WHAT to do if the repair fails]:WHAT:(start fail)' \
        '--strategy=[HOW to repair]:HOW:(auto adopt symlink bind)' \
        '--socket=[the private socket'\''s PATH in the container]:PATH:_files' \
        '*--adopt=[a PATH to which a shared /dev/log may lead, beside the usual ones]:PATH:_files' \
        '--force[rename a /dev/log that is a directory, a regular file or a device to /dev/log.devlog-old]' \
        '--receiver=[the receiver'\''s PATH, or none where a daemon of the container'\''s own listens]:PATH:_files' \
        '--no-heal[repair once; leave nobody who repairs again when /dev/log is replaced]' \
        '--supervise=[WHO restarts a killed receiver on the host\: none]:WHO: ' \
        '--name=[the container'\''s NAME in messages and paths]:NAME: ' \
        '*--rule=[a RULE for the receiver, SELECTOR ACTION]:RULE: ' \
        '--config=[a FILE of rules for the receiver]:FILE:_files' \
        '--rate=[the receiver takes N\[/s|/m\] messages at once, and not more a second or minute in the long run]:N[/s|/m]: ' \
        '--overflow=[HOW it treats more\: block, so that senders wait, or drop]:HOW: ' \
        '--compress-repeats[it writes "last message repeated N times" for repeats]' \
        '--metrics-file=[it writes its account to the file PATH, in which {name} is the container'\''s name, for Prometheus]:PATH:_files' \
        '--sandbox=[WHEN it gives up the rights that it needs no more]:WHEN:(auto on off)' \
        '--user=[it runs as the user NAME|UID\[\:GROUP|GID\]; with --no-heal only]:NAME|UID[:GROUP|GID]: ' \
        '--help[show help]' \
        '-h[show help]'
        ;;
      config)
        _arguments \
        '--help[show help]' \
        '-h[show help]' \
        '1: :(lxc lxc-unprivileged podman docker containerd cri-o cdi kubernetes sysvinit openrc systemd-host s6 runit)'
        ;;
      esac
      ;;
    esac
}
_devlog_hook "$@"
