package main

import (
	"fmt"
	"strings"
)

const header = "# Made by \"make completions\" from what --help says.\n"

// function is the name of the program's function in bash and zsh.
func (p *program) function() string { return "_" + strings.ReplaceAll(p.name, "-", "_") }

// takes is what kind of value the flag has.
func (f *flag) takes() string {
	switch f.value {
	case "":
		return "nothing"
	case "PATH", "FILE":
		return "file"
	case "DIR":
		return "directory"
	}
	switch {
	case f.choices != nil:
		return "choice"
	case f.name == "pid":
		return "process"
	}
	return "text"
}

// words is all that begins with a dash.
func words(flags []flag) string {
	var list []string
	for _, f := range flags {
		list = append(list, "--"+f.name)
		if f.short != "" {
			list = append(list, "-"+f.short)
		}
	}
	return strings.Join(list, " ")
}

func names(commands []command) string {
	var list []string
	for _, c := range commands {
		list = append(list, c.name)
	}
	return strings.Join(list, " ")
}

// quoted is text for a shell, as one word.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func bash(p *program) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# bash completion for %s\n%s%s() {\n", p.name, header, p.function())
	b.WriteString("  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' i\n" +
		"  # --flag=value are three words\n" +
		"  [[ $cur != = ]] || cur=''\n" +
		"  [[ $prev != = ]] || prev=${COMP_WORDS[COMP_CWORD - 2]}\n")
	if len(p.commands) > 0 {
		fmt.Fprintf(&b, "  for ((i = 1; i < COMP_CWORD; i++)); do\n"+
			"    case ${COMP_WORDS[i]} in %s) command=${COMP_WORDS[i]}; break ;; esac\n  done\n",
			strings.ReplaceAll(names(p.commands), " ", "|"))
	}
	b.WriteString("  case $command in\n")
	for _, c := range append([]command{{flags: p.flags}}, p.commands...) {
		offer := words(c.flags)
		if c.name == "" && len(p.commands) > 0 {
			offer = names(p.commands) + " " + offer
		} else if len(c.kinds) > 0 {
			offer = names(c.kinds) + " " + offer
		}
		fmt.Fprintf(&b, "  '%s')\n    case $prev in\n", c.name)
		for _, f := range c.flags {
			var generate string
			switch f.takes() {
			case "nothing":
				continue
			case "file":
				generate = "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")"
			case "directory":
				generate = "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")"
			case "choice":
				generate = fmt.Sprintf("mapfile -t COMPREPLY < <(compgen -W '%s' -- \"$cur\")", strings.Join(f.choices, " "))
			case "process":
				generate = "mapfile -t COMPREPLY < <(cd /proc && compgen -G \"$cur[0-9]*\")"
			case "text":
				generate = "COMPREPLY=()"
			}
			fmt.Fprintf(&b, "    --%s) %s; return ;;\n", f.name, generate)
		}
		fmt.Fprintf(&b, "    esac\n    mapfile -t COMPREPLY < <(compgen -W '%s' -- \"$cur\")\n    ;;\n", offer)
	}
	fmt.Fprintf(&b, "  esac\n}\ncomplete -F %s %s\n", p.function(), p.name)
	return b.String()
}

func zsh(p *program) string {
	escape := strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `:`, `\:`)
	arguments := func(flags []flag) string {
		var b strings.Builder
		for _, f := range flags {
			spec := "--" + f.name
			action := map[string]string{"file": "_files", "directory": "_files -/", "process": "_pids", "text": " ",
				"choice": "(" + strings.Join(f.choices, " ") + ")"}[f.takes()]
			if f.value != "" {
				spec += "="
			}
			if f.repeated {
				spec = "*" + spec
			}
			usage := ""
			if f.usage != "" {
				usage = "[" + escape.Replace(f.usage) + "]"
			}
			spec += usage
			if f.value != "" {
				spec += ":" + f.value + ":" + action
			}
			fmt.Fprintf(&b, " \\\n        %s", quoted(spec))
			if f.short != "" {
				fmt.Fprintf(&b, " \\\n        %s", quoted("-"+f.short+usage))
			}
		}
		return b.String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n%s%s() {\n", p.name, header, p.function())
	if len(p.commands) == 0 {
		fmt.Fprintf(&b, "    _arguments%s\n", arguments(p.flags))
	} else {
		fmt.Fprintf(&b, "    local curcontext=$curcontext state state_descr line\n    typeset -A opt_args\n"+
			"    _arguments -C%s \\\n        '1: :->command' '*:: :->options'\n    case $state in\n    command)\n"+
			"      local -a commands=(\n", arguments(p.flags))
		for _, c := range p.commands {
			fmt.Fprintf(&b, "        %s\n", quoted(c.name+":"+escape.Replace(c.usage)))
		}
		b.WriteString("      )\n      _describe command commands\n      ;;\n    options)\n      case $words[1] in\n")
		for _, c := range p.commands {
			kinds := ""
			if len(c.kinds) > 0 {
				kinds = fmt.Sprintf(" \\\n        '1: :(%s)'", names(c.kinds))
			}
			fmt.Fprintf(&b, "      %s)\n        _arguments%s%s\n        ;;\n", c.name, arguments(c.flags), kinds)
		}
		b.WriteString("      esac\n      ;;\n    esac\n")
	}
	fmt.Fprintf(&b, "}\n%s \"$@\"\n", p.function())
	return b.String()
}

func fish(p *program) string {
	quoted := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }
	var b strings.Builder
	fmt.Fprintf(&b, "# fish completion for %s\n%scomplete -c %s -f\n", p.name, header, p.name)
	flags := func(condition string, list []flag) {
		for _, f := range list {
			fmt.Fprintf(&b, "complete -c %s%s -l %s", p.name, condition, f.name)
			if f.short != "" {
				fmt.Fprintf(&b, " -s %s", f.short)
			}
			switch f.takes() {
			case "file":
				b.WriteString(" -rF")
			case "directory":
				b.WriteString(" -xa '(__fish_complete_directories)'")
			case "choice":
				fmt.Fprintf(&b, " -xa '%s'", strings.Join(f.choices, " "))
			case "process":
				b.WriteString(" -xa '(__fish_complete_pids)'")
			case "text":
				b.WriteString(" -x")
			}
			if f.usage != "" {
				fmt.Fprintf(&b, " -d %s", quoted(f.usage))
			}
			b.WriteString("\n")
		}
	}
	if len(p.commands) == 0 {
		flags("", p.flags)
		return b.String()
	}
	flags(" -n __fish_use_subcommand", p.flags)
	for _, c := range p.commands {
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -a %s -d %s\n", p.name, c.name, quoted(c.usage))
		flags(" -n '__fish_seen_subcommand_from "+c.name+"'", c.flags)
		if len(c.kinds) > 0 {
			fmt.Fprintf(&b, "complete -c %s -n '__fish_seen_subcommand_from %s' -a %s\n", p.name, c.name, quoted(names(c.kinds)))
		}
	}
	return b.String()
}
