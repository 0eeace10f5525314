# bash completion for devlogd
# Made by "make completions" from what --help says.
_devlogd() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' i
  # --flag=value are three words
  [[ $cur != = ]] || cur=''
  [[ $prev != = ]] || prev=${COMP_WORDS[COMP_CWORD - 2]}
  case $command in
  '')
    case $prev in
    --listen) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --type) mapfile -t COMPREPLY < <(compgen -W 'dgram stream' -- "$cur"); return ;;
    --rule) COMPREPLY=(); return ;;
    --config) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --name) COMPREPLY=(); return ;;
    --line-host) COMPREPLY=(); return ;;
    --host-name) COMPREPLY=(); return ;;
    --rate) COMPREPLY=(); return ;;
    --overflow) COMPREPLY=(); return ;;
    --compress-repeats) COMPREPLY=(); return ;;
    --metrics-file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --logs-dir) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    --ready-fd) COMPREPLY=(); return ;;
    --sandbox) mapfile -t COMPREPLY < <(compgen -W 'auto on off' -- "$cur"); return ;;
    --user) COMPREPLY=(); return ;;
    --notice) COMPREPLY=(); return ;;
    --command-needs) mapfile -t COMPREPLY < <(compgen -W 'names host ids mounts' -- "$cur"); return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W '--listen --type --kernel --rule --config --name --line-host --host-name --rate --overflow --compress-repeats --metrics-file --logs-dir --ready-fd --sandbox --user --notice --check-config --exit-when-alone --await-init --command-needs --version --help' -- "$cur")
    ;;
  esac
}
complete -F _devlogd devlogd
