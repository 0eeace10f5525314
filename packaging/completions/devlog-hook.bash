# bash completion for devlog-hook: the program itself knows its commands and options.
_devlog_hook() {
  local word=${COMP_WORDS[COMP_CWORD]} typed=("${COMP_WORDS[@]:0:COMP_CWORD}")
  [[ " ${typed[*]} " != *" -- "* ]] || return
  case $word in
    --) typed+=(-) ;; # a -- would end the options
    -*) typed+=("$word") ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$("${typed[@]}" --generate-bash-completion 2>/dev/null)" -- "$word")
}
complete -o bashdefault -o default -F _devlog_hook devlog-hook
