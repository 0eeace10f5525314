#!/bin/bash
# run.sh [SCENARIO...]: checks the chart and runs the scenarios, which are all *.sh
# files of this directory that say "ended" at their end, or those that are named.
# Each has a node of its own with today's containerd and its CRI plugin. A line is
# printed for each check. Needs root, and a C compiler for runc.
#
# The engines are built once, into ${XDG_CACHE_HOME:-/var/cache}/devlog-engines, in
# some four minutes; so is the Collector, in some two. CONTAINERD_VERSION is another
# containerd's, such as v1.7.35, or "debian" for this Debian's own, which test/deps.sh
# has unpacked.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=test/engines

newest=v2.4.2 # with it no check is skipped
: "${CONTAINERD_VERSION:=$newest}"
CRICTL_VERSION=v1.37.0
RUNC_VERSION=v1.5.3
HELM_VERSION=v3.22.0
COLLECTOR_VERSION=0.165.0 CONFMAP_VERSION=1.71.0
VICTORIALOGS_VERSION=v1.52.1

[ "$(id -u)" = 0 ] || {
	echo "run.sh: it needs root" >&2
	exit 1
}
need=()
# What has to be there, and its package.
for n in /bin/busybox:busybox-static /usr/bin/gcc:gcc /usr/include/seccomp.h:libseccomp-dev /usr/bin/pkg-config:pkg-config; do
	[ -e "${n%%:*}" ] || need+=("${n##*:}")
done
if ((${#need[@]})); then
	apt-get -qq update
	DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "${need[@]}" >/dev/null
fi

# built NAME FUNCTION: prints the directory NAME of the cache, into which the function
# installs programs if the directory does not exist.
cache=${XDG_CACHE_HOME:-/var/cache}/devlog-engines
built() {
	local to=$cache/$1 made
	if [ ! -d "$to" ]; then
		echo "building $to" >&2
		mkdir -p "$cache"
		find "$cache" -maxdepth 1 -name 'new.*' -mmin +120 -exec rm -rf {} + # builds that were interrupted
		made=$(mktemp -d "$cache/new.XXXXXX")
		if ! GOBIN=$made GOFLAGS='-trimpath -ldflags=-s' "$2" >"$cache/log" 2>&1; then
			tail -n 30 "$cache/log" >&2
			echo "cannot build $to: see $cache/log" >&2
			rm -rf "$made"
			return 1
		fi
		mv -T "$made" "$to" # whole now
	fi
	echo "$to"
}
engines() {
	local c=github.com/containerd/containerd cmds=(containerd ctr containerd-shim-runc-v2)
	case $CONTAINERD_VERSION in
	debian) test/deps.sh && cp "${cmds[@]/#/$cache/../devlog-test/engines/usr/bin/}" "$GOBIN/" ;;
	v1.*) ( # its go.mod has what "go install" refuses
		cd "$GOBIN" && go mod init engines && go get "${cmds[@]/#/$c/cmd/}" "$c@$CONTAINERD_VERSION" &&
			CGO_ENABLED=0 go build -o ./ "${cmds[@]/#/$c/cmd/}" && rm go.mod go.sum
	) ;;
	*) CGO_ENABLED=0 go install $(printf "$c/v2/cmd/%s@$CONTAINERD_VERSION " "${cmds[@]}") ;;
	esac &&
		CGO_ENABLED=0 go install sigs.k8s.io/cri-tools/cmd/crictl@$CRICTL_VERSION &&
		CGO_ENABLED=1 go install -tags seccomp github.com/opencontainers/runc@$RUNC_VERSION
}
# collector: the OpenTelemetry Collector with what the printed file needs of the
# distribution "contrib", and a store for it.
collector() {
	local c=go.opentelemetry.io/collector contrib=github.com/open-telemetry/opentelemetry-collector-contrib
	export CGO_ENABLED=0
	cat >"$GOBIN/builder.yaml" <<-END
		dist: {name: otelcol, output_path: $GOBIN/source}
		receivers: [{gomod: $contrib/receiver/filelogreceiver v$COLLECTOR_VERSION}]
		exporters: [{gomod: $c/exporter/otlphttpexporter v$COLLECTOR_VERSION}]
		extensions: [{gomod: $contrib/extension/storage/filestorage v$COLLECTOR_VERSION}]
		providers: [{gomod: $c/confmap/provider/fileprovider v$CONFMAP_VERSION}, {gomod: $c/confmap/provider/envprovider v$CONFMAP_VERSION}]
	END
	go install $c/cmd/builder@v$COLLECTOR_VERSION && "$GOBIN/builder" --config "$GOBIN/builder.yaml" &&
		mv "$GOBIN/source/otelcol" "$GOBIN/" && rm -r "$GOBIN"/{source,builder} &&
		go install github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs@$VICTORIALOGS_VERSION
}
helm() { CGO_ENABLED=0 go install helm.sh/helm/v3/cmd/helm@$HELM_VERSION; }

# chart: checks the chart, and that the manifest is what it renders.
chart() {
	local helm work=$1
	helm=$(built helm-$HELM_VERSION helm)/helm || return
	$helm lint --strict deploy/kubernetes/chart >"$work/lint" && echo "ok   helm lint" || {
		cat "$work/lint"
		return 1
	}
	make -s manifest HELM="$helm" MANIFEST="$work/devlog.yaml"
	diff deploy/kubernetes/devlog.yaml "$work/devlog.yaml" && echo "ok   devlog.yaml is what helm template makes" || {
		echo "FAIL devlog.yaml is not what helm template makes: make manifest"
		return 1
	}
}

engines=$(built containerd-$CONTAINERD_VERSION-crictl-$CRICTL_VERSION-runc-$RUNC_VERSION-seccomp engines)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/devlog-engines.XXXXXX")
[ -n "${KEEP-}" ] || trap 'rm -rf "$work"' EXIT
ln -s "$engines" "$work/bin"
make --no-print-directory build BIN="$work/devlog" >/dev/null
make --no-print-directory nri BIN="$work/plugin" >/dev/null
mkdir "$work/programs"
cp "$work"/{devlog,plugin}/* "$work/programs/"
$here/image.sh "$work/img.tar" "$work/programs" localhost/busybox:1 localhost/pause:1

scenarios=("$@") status=0
(($#)) || chart "$work" || status=1
(($#)) || mapfile -t scenarios < <(grep -lE '^ended [0-9]+' $here/*.sh)
[[ " ${scenarios[*]} " != *otel* ]] || ln -s "$(built collector-$COLLECTOR_VERSION-victorialogs-$VICTORIALOGS_VERSION collector)" "$work/collector"
for scenario in "${scenarios[@]}"; do
	[ -f "$scenario" ] || scenario=$here/$scenario.sh
	name=$(basename "$scenario" .sh)
	echo "---- $name"
	WORK=$work timeout "${ENGINE_TIMEOUT:-300}" $here/node.sh "$scenario" 2>"$work/$name.err" | tee "$work/$name.out" || true
	if grep -q '^FAIL' "$work/$name.out" || ! grep -qx "end  $name" "$work/$name.out" ||
		{ [ "$CONTAINERD_VERSION" = $newest ] && grep -q '^skip' "$work/$name.out"; }; then
		status=1
		echo "FAIL scenario $name"
		tail -n 20 "$work/$name.err" "$work"/log/"$name".* 2>/dev/null || true
	fi
	# What the node's containers were in.
	find /sys/fs/cgroup -depth -type d -path "*/devlog-engines-$(basename "$work")*" -exec rmdir {} + 2>/dev/null || true
done
exit $status
