# shellcheck shell=bash
# What the NRI plugin costs a container's start: medians of "crictl create" and
# "crictl start", interleaved. Run by its name only.
install
engine_conf
engine_start
: "${REPS:=25}"
for _ in $(seq "$REPS"); do
	for arm in none unwanted hooked; do
		case $arm in
		none) [ "$plugin" = 0 ] || plugin_stop ;;
		unwanted) plugin_start ;;
		esac
		annotations='{}'
		[ $arm != hooked ] || annotations='{"devlog.dev/log":"on"}'
		create "$arm" # warms nothing that the others lack
		remove
		crictl runp "/run/$arm.pod" >"$WORK/said"
		pod=$(cat "$WORK/said")
		from=$EPOCHREALTIME
		id=$(crictl create "$pod" "/run/$arm.container" "/run/$arm.pod")
		between=$EPOCHREALTIME
		crictl start "$id" >/dev/null
		to=$EPOCHREALTIME
		echo "$arm $((${between/./} - ${from/./})) $((${to/./} - ${between/./}))" >>"$WORK/times"
		remove
	done
done
plugin_stop
for arm in none unwanted hooked; do
	for field in 2 3; do
		awk -v arm=$arm -v f=$field '$1 == arm {print $f}' "$WORK/times" | sort -n | sed -n "$(((REPS + 1) / 2))p"
	done | paste -sd' ' | awk -v arm=$arm '{printf "%-9s create %.1f ms, start %.1f ms\n", arm, $1 / 1000, $2 / 1000}'
done
echo "end  $scenario"
