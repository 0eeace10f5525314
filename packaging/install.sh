#!/bin/bash
# install.sh BIN DESTDIR PREFIX: the one list of what is installed, by "make
# install" and in packages. The programs in BIN go to PREFIX/libexec/devlog, which
# containers get as a whole; the files in hooks/ name that folder.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1 destdir=$2 prefix=$3 to=$2$3

# put MODE DIR FILE...
put() {
  local mode=$1 dir=$2
  shift 2
  install -d -m 755 "$dir"
  install -m "$mode" -t "$dir" -- "$@"
}

# compress FILE TO: without its name and time.
compress() {
  install -d -m 755 "$(dirname "$2")"
  gzip -9n <"$1" >"$2"
  chmod 644 "$2"
}

# link TARGET NAME
link() {
  install -d -m 755 "$(dirname "$2")"
  ln -sfn "$1" "$2"
}

put 755 "$to/libexec/devlog" "$bin"/*
for program in "$bin"/*; do
  name=$(basename "$program")
  case $name in
    devlog-runtime) dir=bin ;; # engines look there for runtimes
    *) dir=sbin ;;
  esac
  link "../libexec/devlog/$name" "$to/$dir/$name"
done

shopt -s extglob
put 644 "$to/share/devlog/hooks" hooks/!(*.go)
chmod 755 "$to"/share/devlog/hooks/*.{init,openrc,s6,runit}
put 644 "$to/lib/systemd/system" hooks/*.{service,socket}
install -D -m 644 packaging/sysusers.conf "$to/lib/sysusers.d/devlog.conf"
if [[ $prefix != /usr ]]; then # they name where all this is
  sed -i "s,/usr/\(libexec\|share\)/devlog,$prefix/\1/devlog,g" "$to"/share/devlog/hooks/* "$to"/lib/systemd/system/devlog*
fi

for page in man/*; do
  compress "$page" "$to/share/man/man${page##*.}/${page#man/}.gz"
done
for file in packaging/completions/*.bash; do
  name=$(basename "$file" .bash)
  install -D -m 644 "$file" "$to/share/bash-completion/completions/$name"
  install -D -m 644 "${file%.bash}.zsh" "$to/share/zsh/site-functions/_$name"
  link "../site-functions/_$name" "$to/share/zsh/vendor-completions/_$name" # where Debian looks
done
put 644 "$to/share/fish/vendor_completions.d" packaging/completions/*.fish

put 644 "$to/share/doc/devlog" README.md SECURITY.md LICENSE packaging/copyright
put 644 "$to/share/doc/devlog/docs" docs/*.md docs/*.svg # where README.md links to
put 644 "$to/share/doc/devlog/docs/adr" docs/adr/*
compress CHANGELOG.md "$to/share/doc/devlog/changelog.gz"

# An administrator's file stays.
[[ -e $destdir/etc/devlogd.conf ]] || put 644 "$destdir/etc" packaging/devlogd.conf
