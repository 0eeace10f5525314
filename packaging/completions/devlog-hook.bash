# bash completion for devlog-hook
# Made by "make completions" from what --help says.
_devlog_hook() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' i
  # --flag=value are three words
  [[ $cur != = ]] || cur=''
  [[ $prev != = ]] || prev=${COMP_WORDS[COMP_CWORD - 2]}
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in check|repair|undo|oci|config) command=${COMP_WORDS[i]}; break ;; esac
  done
  case $command in
  '')
    case $prev in
    esac
    mapfile -t COMPREPLY < <(compgen -W 'check repair undo oci config --help -h --version -v' -- "$cur")
    ;;
  'check')
    case $prev in
    --pid) mapfile -t COMPREPLY < <(cd /proc && compgen -G "$cur[0-9]*"); return ;;
    --root) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    --strategy) mapfile -t COMPREPLY < <(compgen -W 'auto adopt symlink bind' -- "$cur"); return ;;
    --socket) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --adopt) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W '--pid --root --host --strategy --socket --adopt --force --json --help -h' -- "$cur")
    ;;
  'repair')
    case $prev in
    --pid) mapfile -t COMPREPLY < <(cd /proc && compgen -G "$cur[0-9]*"); return ;;
    --root) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    --strategy) mapfile -t COMPREPLY < <(compgen -W 'auto adopt symlink bind' -- "$cur"); return ;;
    --socket) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --adopt) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --receiver) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --supervise) COMPREPLY=(); return ;;
    --name) COMPREPLY=(); return ;;
    --rule) COMPREPLY=(); return ;;
    --config) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --rate) COMPREPLY=(); return ;;
    --overflow) COMPREPLY=(); return ;;
    --metrics-file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --sandbox) mapfile -t COMPREPLY < <(compgen -W 'auto on off' -- "$cur"); return ;;
    --user) COMPREPLY=(); return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W '--pid --root --host --strategy --socket --adopt --force --receiver --no-heal --supervise --name --rule --config --rate --overflow --compress-repeats --metrics-file --sandbox --user --dry-run --keep --all --help -h' -- "$cur")
    ;;
  'undo')
    case $prev in
    --pid) mapfile -t COMPREPLY < <(cd /proc && compgen -G "$cur[0-9]*"); return ;;
    --root) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    --socket) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W '--pid --root --host --socket --help -h' -- "$cur")
    ;;
  'oci')
    case $prev in
    --stage) mapfile -t COMPREPLY < <(compgen -W 'prestart createRuntime createContainer startContainer poststart poststop' -- "$cur"); return ;;
    --annotations) COMPREPLY=(); return ;;
    --on-error) mapfile -t COMPREPLY < <(compgen -W 'start fail' -- "$cur"); return ;;
    --strategy) mapfile -t COMPREPLY < <(compgen -W 'auto adopt symlink bind' -- "$cur"); return ;;
    --socket) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --adopt) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --receiver) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --supervise) COMPREPLY=(); return ;;
    --name) COMPREPLY=(); return ;;
    --rule) COMPREPLY=(); return ;;
    --config) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --rate) COMPREPLY=(); return ;;
    --overflow) COMPREPLY=(); return ;;
    --metrics-file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --sandbox) mapfile -t COMPREPLY < <(compgen -W 'auto on off' -- "$cur"); return ;;
    --user) COMPREPLY=(); return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W '--stage --annotations --on-error --strategy --socket --adopt --force --receiver --no-heal --supervise --name --rule --config --rate --overflow --compress-repeats --metrics-file --sandbox --user --help -h' -- "$cur")
    ;;
  'config')
    case $prev in
    esac
    mapfile -t COMPREPLY < <(compgen -W 'lxc lxc-unprivileged podman docker containerd cri-o cdi kubernetes sysvinit openrc systemd-host s6 runit --help -h' -- "$cur")
    ;;
  esac
}
complete -F _devlog_hook devlog-hook
