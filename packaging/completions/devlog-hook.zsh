#compdef devlog-hook
# zsh completion for devlog-hook: the program itself knows its commands and options.
local -a typed=("${(@)words[1,CURRENT-1]}") offers
(( ! ${typed[(Ie)--]} )) || return 1
case ${words[CURRENT]} in
  --) typed+=(-) ;; # a -- would end the options
  -*) typed+=("${words[CURRENT]}") ;;
esac
offers=("${(@f)$("${(@)typed}" --generate-bash-completion 2>/dev/null)}")
compadd -a offers || _files
