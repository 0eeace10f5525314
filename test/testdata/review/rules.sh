# Has its receiver do much for each message: many rules, each of which renames a thousand files.
#annotation devlog.dev/rules=*.* /var/log/devlog/intruder/a;rotate=1:999\n*.* /var/log/devlog/intruder/b;rotate=1:999
i=0
while [ $i -lt 100 ]; do client t 13 "$i"; i=$((i + 1)); done
exit 0
