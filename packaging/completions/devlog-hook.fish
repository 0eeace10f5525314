# fish completion for devlog-hook: the program itself knows its commands and options.
function __devlog_hook
    set -l typed (commandline -opc)
    set -l word (commandline -ct)
    contains -- -- $typed; and return
    switch $word
        case -- # it would end the options
            set -a typed -
        case '-*'
            set -a typed $word
    end
    $typed --generate-bash-completion 2>/dev/null
end
complete -c devlog-hook -a '(__devlog_hook)'
