# Gives the receiver of a neighbour the lowest priority, and has the kernel kill it first.
busybox renice -n 19 -p $2 >/dev/null 2>&1 && exit 3
echo 1000 >"$1/$2/oom_score_adj" 2>/dev/null && exit 3
exit 0
